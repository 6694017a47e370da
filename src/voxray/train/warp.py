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

from .label import PEOPLE, STAMP, TEACHER, UNTOLD, Label, read_labels
from .store import RATE, TOKEN, Entry, Store, write_index
from .workers import ahead

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
    if not (folder / PEOPLE).is_file():
        raise FileNotFoundError(
            f"nobody in {folder} is aligned yet: `voxray train content` or `voxray train restart` comes first"
        )
    store = Store(folder)
    labels = {name: read_labels(folder, (name,)) for name in (PEOPLE, UNTOLD)}
    entries, position = list(store.entries), store.total
    rows: dict[str, list[str]] = {name: [] for name in labels}
    asked = [
        (entry, factor, name)
        for factor in factors
        for entry in store.entries
        for name, known in labels.items()
        if wanted(entry) and entry.name in known
    ]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "wave.i16").open("wb") as waves, (out / "f0.f16").open("wb") as pitches:
        np.asarray(store.wave[:position]).tofile(waves)
        np.asarray(store.array("f0.f16", "float16", 240)[: position // 240]).tofile(pitches)
        made = ahead(_moved, ((folder, entry, factor) for entry, factor, _ in asked), workers)
        for (entry, factor, name), (wave, pitch) in zip(asked, made, strict=True):
            wave.tofile(waves)
            pitch.tofile(pitches)
            entries.append(_renamed(entry, factor, position, len(wave)))
            position += len(wave)
            rows[name].append(_row(labels[name][entry.name], entries[-1], factor))
    for name, more in rows.items():
        before = (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else ""
        lines = [*before.splitlines(), *more]
        (out / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name in (TEACHER, "codebook.npy", STAMP):
        if (folder / name).is_file():
            (out / name).write_bytes((folder / name).read_bytes())
    write_index(out, entries)
    return len(asked)


def _renamed(entry: Entry, factor: float, start: int, samples: int) -> Entry:
    """The clip of the speaker who is heard at another speed."""
    return replace(
        entry, name=f"{entry.name}@{factor:g}", speaker=f"{entry.speaker}@{factor:g}", start=start,
        samples=samples, band_hz=min(RATE // 2, round(entry.band_hz * factor)),
    )  # fmt: skip


def _row(label: Label, moved: Entry, factor: float) -> str:
    """A label's line, its times at the new speed."""
    spans = np.minimum(np.round(label.spans / factor).astype(int), moved.samples // 480)
    return json.dumps({"name": moved.name, "ids": label.ids.tolist(), "spans": spans.tolist()})


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
