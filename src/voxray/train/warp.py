"""Timbres that nobody recorded: people's clips played faster or slower, as new speakers of a corpus.

Speed moves pitch and formants together (a shorter or longer vocal tract); all clips of a speaker are moved alike,
so that target and reference stay one voice. In: a store with waves, F0, phonemes. Out: another store, the
first one's clips and behind them the moved ones; what else is derived of a clip (tokens, what the GPT would have
said, latents, speaker vectors) is made anew by who needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from voxray.audio import resample

from .label import STAMP, read_labels
from .store import RATE, TOKEN, Entry, Store, write_index
from .workers import ahead

LABELS = "labels_people.jsonl"
STEPS = 1000  # resolution of a factor


def write_warped(
    folder: Path,
    out: Path,
    factors: Sequence[float],
    wanted: Callable[[Entry], bool],
    workers: int = 1,
) -> int:
    """Write `out`, with `workers` processes; returns how many clips were added. A factor of 1.1 plays 10 % faster and
    higher.
    """
    if any(not 0.5 <= factor <= 2.0 for factor in factors):
        raise ValueError(f"factors are {list(factors)}; between 0.5 and 2 a voice stays a voice")
    if not (folder / LABELS).is_file():
        raise FileNotFoundError(
            f"nobody in {folder} is aligned yet: `voxray train content` or `voxray train restart` comes first"
        )
    store, labels = Store(folder), read_labels(folder, (LABELS,))
    f0 = store.array("f0.f16", "float16", 240)
    entries, rows = list(store.entries), []
    out.mkdir(parents=True, exist_ok=True)
    position, whole = store.total, store.total
    with (out / "wave.i16").open("wb") as waves, (out / "f0.f16").open("wb") as pitches:
        np.asarray(store.wave[:whole]).tofile(waves)
        np.asarray(f0[: whole // 240]).tofile(pitches)
        asked = [
            (folder, entry, factor)
            for factor in factors
            for entry in store.entries
            if wanted(entry) and entry.name in labels
        ]
        for (_, entry, factor), (wave, pitch) in zip(
            asked, ahead(_moved, asked, workers), strict=True
        ):
            wave.tofile(waves)
            pitch.tofile(pitches)
            name = f"{entry.name}@{factor:g}"
            moved = replace(
                entry, name=name, speaker=f"{entry.speaker}@{factor:g}", start=position,
                samples=len(wave), band_hz=min(RATE // 2, round(entry.band_hz * factor)),
            )  # fmt: skip
            entries.append(moved)
            position += len(wave)
            label, frames = labels[entry.name], len(wave) // 480
            spans = np.minimum(np.round(label.spans / factor).astype(int), frames)
            rows.append({"name": name, "ids": label.ids.tolist(), "spans": spans.tolist()})
    lines = (folder / LABELS).read_text(encoding="utf-8").splitlines()
    lines += [json.dumps(row) for row in rows]
    (out / LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "labels.jsonl").write_bytes((folder / "labels.jsonl").read_bytes())
    (out / "codebook.npy").write_bytes((folder / "codebook.npy").read_bytes())
    if (folder / STAMP).is_file():
        (out / STAMP).write_bytes((folder / STAMP).read_bytes())
    write_index(out, entries)
    return len(rows)


@lru_cache(maxsize=1)
def _store(folder: Path) -> tuple[Store, np.ndarray]:
    store = Store(folder)
    return store, store.array("f0.f16", "float16", 240)


def _moved(asked: tuple[Path, Entry, float]) -> tuple[np.ndarray, np.ndarray]:
    """A clip of a store at another speed, padded to whole tokens, and its F0 every 10 ms."""
    folder, entry, factor = asked
    store, f0 = _store(folder)
    wave = resample(store.audio(entry), round(factor * STEPS), STEPS)
    padded = np.zeros(-(-len(wave) // TOKEN) * TOKEN, dtype=np.float32)
    padded[: len(wave)] = wave
    track = f0[entry.start // 240 : (entry.start + entry.samples) // 240].astype(np.float32)
    place = (np.arange(len(padded) // 240) * factor).round().astype(int)
    pitch = np.where(place < len(track), track[place.clip(0, len(track) - 1)] * factor, 0.0)
    return (np.clip(padded, -1, 1) * 32767).astype("<i2"), pitch.astype(np.float16)
