"""What the detector is trained on: people and machines, whole or spliced, over the same roads.

Sources are drawn in fixed shares, not by how many files each has. A third of the examples is of one
source, two thirds have a piece of another (or of the same side) cut in, so that a cut alone says
nothing. Rooms and noise are laid over both sides before the road (`matching.roughen`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import audio
from .matching import LEVEL, RATE, levelled, roughen
from .network import HOP, SIGHTS, features
from .resynthesis import phases, pulsed, vocoded

Wave = NDArray[np.float32]
SECONDS = 2.2
FRAMES = int(100 * SECONDS) - 4  # 216
STEPS = FRAMES // 4
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
PEOPLE = {"speechocean762": 0.45, "librispeech-train-clean-100": 0.33, "aishell3": 0.22}
TEACHER, OWN = 0.35, 0.3  # shares of the fakes
RESYNTHESIS = {phases: 0.08, vocoded: 0.09, pulsed: 0.18}
MIXED = 0.65
CODED = 0.6  # how often a codec is on the road in training
LOT = 50


@dataclass(frozen=True)
class Source:
    """Files, how often they are drawn, and what is done to a piece first."""

    files: tuple[Path, ...]
    share: float
    change: Callable[[Wave, np.random.Generator], Wave] | None = None

    def piece(self, seconds: float, dice: np.random.Generator) -> Wave:
        """So many seconds of a file at 16 kHz and a fixed level; a short file is repeated."""
        wave, rate = audio.read_audio(self.files[int(dice.integers(len(self.files)))])
        wanted = round(seconds * rate)
        begin = int(dice.integers(0, max(1, len(wave) - wanted + 1)))
        wave = wave[begin : begin + wanted]
        wave = levelled(np.tile(wave, -(-wanted // len(wave)))[:wanted], rate)
        size = round(seconds * RATE)
        wave = np.pad(wave, (0, max(0, size - len(wave))))[:size]
        return wave if self.change is None else levelled(self.change(wave, dice), RATE)


@dataclass(frozen=True)
class Sources:
    """Two sides."""

    real: tuple[Source, ...]
    fake: tuple[Source, ...]

    def piece(self, fake: bool, seconds: float, dice: np.random.Generator) -> Wave:
        """A piece of one side."""
        side = self.fake if fake else self.real
        shares = np.array([source.share for source in side])
        return side[int(dice.choice(len(side), p=shares / shares.sum()))].piece(seconds, dice)


@dataclass(frozen=True)
class Examples:
    """Sights [N, T, 248] and which of their steps are fake [N, T // 4]."""

    x: NDArray[np.float16]
    fake: NDArray[np.bool_]


def collect(speech: Path, teacher: Path, own: Path, split: str = "train") -> Sources:
    """The sources of a split: of `dev` the people differ, and every tenth fake file is kept apart."""
    people = [row for row in rows(speech / "manifest.tsv")
              if row["split"] == split and row["use"] == "train"]  # fmt: skip
    real = []
    for corpus, share in PEOPLE.items():
        files = tuple(speech / row["path"] for row in people if row["corpus"] == corpus)
        if files:
            real.append(Source(files, share))
    spoken = [teacher / row["path"] for row in rows(teacher / "manifest.tsv")
              if row["split"] == "train" and float(row["duration"]) >= 1.5]  # fmt: skip
    fake = [Source(_part(spoken, split), TEACHER)]
    folders = sorted(path for path in own.iterdir() if path.is_dir())
    for folder in folders:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
        fake.append(Source(_part(files, split), OWN / len(folders)))
    everyone = tuple(path for source in real for path in source.files)
    fake += [Source(everyone, share, change) for change, share in RESYNTHESIS.items()]
    return Sources(tuple(real), tuple(fake))


def prepare(sources: Sources, count: int, seed: int, mixed: float = MIXED) -> Examples:
    """So many examples, both sides alike, in lots of `LOT` that do not hang on each other."""
    lots = [
        lot(sources, min(LOT, count - first), (seed, first // LOT), mixed)
        for first in range(0, count, LOT)
    ]
    return Examples(np.concatenate([one.x for one in lots]),
                    np.concatenate([one.fake for one in lots]))  # fmt: skip


def lot(sources: Sources, count: int, seed: tuple[int, int], mixed: float = MIXED) -> Examples:
    """A few examples."""
    dice = np.random.default_rng(seed)
    x = np.empty((count, FRAMES, SIGHTS), np.float16)
    fake = np.empty((count, STEPS), bool)
    centres = (4 * np.arange(STEPS) + 2) * HOP
    for number in range(count):
        wave, where = example(sources, number % 2 == 1, dice.random() < mixed, dice)
        heard = roughen(worn(wave, dice), RATE, dice, coded=CODED)
        x[number], fake[number] = features(heard, RATE)[:FRAMES], where[centres]
    return Examples(x, fake)


def example(
    sources: Sources, side: bool, mixed: bool, dice: np.random.Generator
) -> tuple[Wave, NDArray[np.bool_]]:
    """A wave [N], with a piece cut in or whole, and where it is fake [N]."""
    wave = sources.piece(side, SECONDS, dice)
    where = np.full(len(wave), side)
    if mixed:
        other = bool(side) if dice.random() < 0.2 else not side
        piece = sources.piece(other, float(dice.uniform(0.5, 1.5)), dice)
        begin = int(dice.integers(-len(piece) // 3, len(wave) - 2 * len(piece) // 3))
        first, last = max(0, begin), min(len(wave), begin + len(piece))
        wave = wave.copy()
        wave[first:last] = piece[first - begin : last - begin]
        where[first:last] = other
    return wave, where


def worn(wave: Wave, dice: np.random.Generator) -> Wave:
    """Sometimes a room, sometimes coloured noise."""
    if dice.random() < 0.35:
        length = int(RATE * dice.uniform(0.05, 0.4))
        tail = dice.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= dice.uniform(0.1, 0.7) / np.sqrt((tail**2).sum())
        tail[0] = 1.0
        size = 1 << (len(wave) + length - 1).bit_length()
        rung = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)
        wave = rung[: len(wave)].astype(np.float32)
    if dice.random() < 0.5:
        spectrum = np.fft.rfft(dice.standard_normal(len(wave)))
        spectrum *= np.maximum(np.fft.rfftfreq(len(wave), 1 / RATE), 50.0) ** -dice.uniform(0, 1)
        noise = np.fft.irfft(spectrum, len(wave))
        noise *= LEVEL * 10 ** (-dice.uniform(15, 45) / 20) / noise.std()
        wave = wave + noise.astype(np.float32)
    return wave


def rows(path: Path) -> list[Mapping[str, str]]:
    """A table."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _part(files: Sequence[Path], split: str) -> tuple[Path, ...]:
    return tuple(path for n, path in enumerate(files) if (n % 10 == 9) == (split != "train"))
