"""`voxray data prepare`: manifests -> a folder of waves and F0 that training reads.

Clips are read, resampled to 24 kHz, brought to one loudness, and appended; the report says what was
dropped and why. A broken-off run goes on where it stopped (the index is written as it grows).
Reading is shared out over processes (`workers`) or over the machines of a Ray cluster (`clusters`).
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from voxray.audio import read_audio, resample, speech_gain

from .clusters import over_ray
from .corpus import Clip, read_manifest
from .pitch import f0_track
from .store import RATE, TOKEN, Entry, Store, write_index
from .workers import ahead

SHORTEST, LONGEST = 0.8, 25.0


def prepare(
    manifests: Sequence[Path],
    out: Path,
    splits: Sequence[str] = ("train", "dev"),
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    cluster: str = "",
) -> dict[str, int]:
    """Fill `out`; returns how many clips were kept, already there, or dropped for which reason.

    Recordings are read by `workers` processes, or by a Ray cluster ("local", or its address); the store is
    the same for any number of them.
    """
    out.mkdir(parents=True, exist_ok=True)
    clips = [c for m in manifests for c in read_manifest(m)]
    entries = Store(out).entries if (out / "index.json").exists() else []
    report: Counter[str] = Counter()
    with (out / "wave.i16").open("r+b" if entries else "wb") as file:
        position = sum(e.samples for e in entries)
        file.seek(2 * position)
        file.truncate()
        reasons = _refusals(clips, entries, splits)
        fresh = [c.path for c, reason in zip(clips, reasons, strict=True) if not reason]
        waves = _waves(fresh, workers, cluster)
        for i, (clip, reason) in enumerate(zip(clips, reasons, strict=True)):
            wave = None
            if not reason:
                wave, fault = next(waves)
                report.update([fault] if fault else [])
            if wave is not None:
                file.write(wave.tobytes())
                entries.append(_entry(clip, position, len(wave)))
                position += len(wave)
            report[reason or ("kept" if wave is not None else "dropped")] += 1
            if i % 200 == 199:
                file.flush()
                write_index(out, entries)
            if progress:
                progress(i + 1, len(clips))
    write_index(out, entries)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return dict(report)


def _refusals(clips: Sequence[Clip], entries: Sequence[Entry], splits: Sequence[str]) -> list[str]:
    """Why each clip is not read, "" if it is. Clips are known by their names, the paths in their manifests; another
    folder's clip of the same name is told from one that is there by its speaker and text.
    """
    known = {e.name: (e.speaker, e.text, "already there") for e in entries}
    reasons = []
    for clip in clips:
        speaker, text, there = known.get(clip.name, ("", "", ""))
        if there:
            same = (speaker, text) == (clip.speaker, clip.text)
            reasons.append(there if same else "another clip or text has this name")
        elif clip.split not in splits:
            reasons.append(f"split {clip.split}")
        else:
            known[clip.name] = (clip.speaker, clip.text, "listed twice")
            reasons.append("")
    return reasons


def _waves(
    paths: list[Path], workers: int, cluster: str
) -> Iterator[tuple[np.ndarray | None, str]]:
    """What `_load` gives for each path, in order."""
    if not cluster:
        yield from ahead(_load, paths, workers)
        return
    for row in over_ray(load_row, paths, cluster):
        fault = row["fault"]
        yield (None if fault else np.frombuffer(row["wave"], "<i2")), fault


def load_row(path: Path) -> dict[str, bytes | str]:
    """`_load` as a row that travels between machines."""
    wave, fault = _load(path)
    return {"wave": b"" if wave is None else wave.tobytes(), "fault": fault}


def _load(path: Path) -> tuple[np.ndarray | None, str]:
    """A recording as the store keeps it, or None and why not."""
    try:
        wave, rate = read_audio(path)
    except (OSError, ValueError):
        return None, "unreadable"
    seconds = len(wave) / rate
    if not SHORTEST <= seconds <= LONGEST:
        return None, "too short" if seconds < SHORTEST else "too long"
    wave = resample(wave, rate, RATE)
    wave = wave * speech_gain(wave)
    padded = np.zeros(-(-len(wave) // TOKEN) * TOKEN, dtype=np.float32)
    padded[: len(wave)] = wave
    return (np.clip(padded, -1, 1) * 32767).astype("<i2"), ""


def _entry(clip: Clip, start: int, samples: int) -> Entry:
    return Entry(
        clip.name, clip.speaker, clip.language, clip.text, clip.split, clip.band_hz,
        clip.synthetic, start, samples, clip.phones, clip.durations,
    )  # fmt: skip


def add_pitch(
    folder: Path, progress: Callable[[int, int], None] | None = None, workers: int = 1
) -> None:
    """Write `f0.f16`: Hz every 10 ms, 0 where unvoiced; `workers` processes listen."""
    store = Store(folder)
    if store.whole("f0.f16", "float16", 240):
        return
    with store.fill("f0.f16", "float16", 240) as f0:
        tracks = ahead(_track, map(store.audio, store.entries), workers)
        for i, (entry, track) in enumerate(zip(store.entries, tracks, strict=True)):
            f0[entry.start // 240 : entry.start // 240 + len(track)] = track
            if progress:
                progress(i + 1, len(store.entries))


def _track(wave: np.ndarray) -> np.ndarray:
    if multiprocessing.parent_process() is not None:  # one of several: a core each
        torch.set_num_threads(1)
    return f0_track(wave)
