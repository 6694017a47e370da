"""Which of our own outputs the detector does not see, and what they have in common.

`report(files)` judges each file (all are known to be synthetic) and compares those that escape with
those that are caught, by length, level of noise, loudness and the bands' evidence. A difference is
named only when it is larger than chance would have it (permutations; p is given, and no correction
is made for looking at several traits: read small p as a hint).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import audio
from .detector import Judgement, judge

SHUFFLES = 2000
TELLING = 0.05
Judge = Callable[[NDArray[np.float32], int], Judgement]


@dataclass(frozen=True)
class Case:
    """One output and what was measured of it."""

    file: str
    score: float
    traits: dict[str, float]

    @property
    def escapes(self) -> bool:
        """Whether the detector takes it for a person."""
        return self.score <= 0


@dataclass(frozen=True)
class Reason:
    """A trait by which those that escape differ: means of both, and the chance of such a gap."""

    trait: str
    escaped: float
    caught: float
    p: float


@dataclass(frozen=True)
class Defence:
    """The report."""

    cases: tuple[Case, ...]
    reasons: tuple[Reason, ...]

    @property
    def escaped(self) -> tuple[Case, ...]:
        """Those that the detector takes for people."""
        return tuple(case for case in self.cases if case.escapes)

    def lines(self) -> list[str]:
        """In plain words."""
        count, total = len(self.escaped), len(self.cases)
        told = [f"{count} of {total} synthetic files pass for people"]
        told += [f"  {case.file}: log odds {case.score:.2f}" for case in self.escaped]
        told += [
            f"those that escape have {r.trait} {r.escaped:.3g}, the others {r.caught:.3g} "
            f"(p = {r.p:.3f})"
            for r in self.reasons
        ]
        if count and not self.reasons:
            told.append("nothing that was measured tells them from the others")
        return told


def report(files: Sequence[Path], *, judging: Judge = judge, seed: int = 0) -> Defence:
    """Judge synthetic files, and look for what sets the escaped ones apart."""
    cases = tuple(_case(path, judging) for path in files)
    if not cases:
        raise ValueError("no sound files to judge")
    return Defence(cases, reasons(cases, seed))


def reasons(cases: Sequence[Case], seed: int = 0) -> tuple[Reason, ...]:
    """Traits whose means differ more than chance would have it."""
    escaped = np.array([case.escapes for case in cases])
    if escaped.all() or not escaped.any():
        return ()
    dice = np.random.default_rng(seed)
    shuffled = np.stack([dice.permutation(escaped) for _ in range(SHUFFLES)])  # [S, N]
    found = []
    for trait in cases[0].traits:
        values = np.array([case.traits[trait] for case in cases])
        gap = values[escaped].mean() - values[~escaped].mean()
        gaps = (shuffled @ values) / escaped.sum() - (~shuffled @ values) / (~escaped).sum()
        p = float((1 + (np.abs(gaps) >= abs(gap)).sum()) / (1 + SHUFFLES))
        if p <= TELLING:
            found.append(
                Reason(trait, float(values[escaped].mean()), float(values[~escaped].mean()), p)
            )
    return tuple(sorted(found, key=lambda reason: reason.p))


def _case(path: Path, judging: Judge) -> Case:
    wave, rate = audio.read_audio(path)
    judged = judging(wave, rate)
    traits = {
        "seconds": len(wave) / rate,
        "signal to noise (dB)": audio.snr_db(wave, rate),
        "loudness (LUFS)": audio.loudness(wave, rate),
    }
    for low, high, share in judged.bands:
        traits[f"evidence from {low:.0f}-{high:.0f} Hz"] = share
    return Case(str(path), judged.score, traits)
