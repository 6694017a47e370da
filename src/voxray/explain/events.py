"""What happens to a word: rises, falls, loud and soft words, pauses, found and measured per word.

A `Measure` is one number of one word: pitch in semitones, level in dB (both against the tokens just
before it, or after it where it is the first) or the pause behind it in seconds. The same measure is
taken of the clean run and of every changed one, over the word's tokens by alignment, never by frame:
after an edit the frames differ. An `Event` is a measure that stands out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .replay import Passage

KINDS = ("pitch", "loudness", "pause")
UNITS = {"pitch": "semitones", "loudness": "dB", "pause": "s"}
LEAST = {"pitch": 1.0, "loudness": 3.0, "pause": 0.12}  # smaller ones are no events
AROUND = 12  # tokens (480 ms) beside a word that it is compared with

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """One run, per token: log2 F0 (nan: unvoiced) and level in dB, and the phoneme said, [S] each."""

    octaves: Numbers
    level: Numbers
    path: tuple[int, ...]


@dataclass(frozen=True)
class Measure:
    """Which number of which word (its phonemes in the passage)."""

    kind: str
    phonemes: frozenset[int]
    behind: frozenset[int]  # pause phonemes that follow
    token_seconds: float

    def __call__(self, run: Curves) -> float:
        """The number; nan where the run does not say the word, or says it without voice."""
        path = np.array(run.path)
        if self.kind == "pause":
            return float(np.isin(path, list(self.behind)).sum() * self.token_seconds)
        mine = np.flatnonzero(np.isin(path, list(self.phonemes)))
        if len(mine) == 0:
            return float("nan")
        values = 12.0 * run.octaves if self.kind == "pitch" else run.level
        beside = np.arange(max(0, mine[0] - AROUND), mine[0])
        if np.isfinite(values[beside]).sum() < 3:
            beside = np.arange(mine[-1] + 1, min(len(path), mine[-1] + 1 + AROUND))
        if not np.isfinite(values[mine]).any() or not np.isfinite(values[beside]).any():
            return float("nan")
        return float(np.nanmean(values[mine]) - np.nanmean(values[beside]))


@dataclass(frozen=True)
class Event:
    """Something that stands out: a measure of a word, its size, and when."""

    measure: Measure
    word: int
    text: str
    size: float
    start_s: float
    end_s: float

    @property
    def name(self) -> str:
        """rise, fall, louder, softer or pause."""
        up = self.size > 0
        names = {"pitch": ("fall", "rise"), "loudness": ("softer", "louder")}
        return names.get(self.measure.kind, ("pause", "pause"))[up]

    @property
    def unit(self) -> str:
        """Of the size."""
        return UNITS[self.measure.kind]

    @property
    def strength(self) -> float:
        """Size in units of the least that counts."""
        return abs(self.size) / LEAST[self.measure.kind]


def measure_of(passage: Passage, word: int, kind: str, token_seconds: float) -> Measure:
    """The measure of a word in a passage."""
    if kind not in KINDS:
        raise ValueError(f"what happens to a word is one of {', '.join(KINDS)}, not {kind!r}")
    mine = [i for i, at in enumerate(passage.words) if at == word]
    if not mine:
        raise ValueError(f"word {word} is not said in this passage")
    behind = mine[-1] + 1
    while behind < len(passage.words) and passage.words[behind] < 0:
        behind += 1
    pauses = frozenset(range(mine[-1] + 1, behind))
    return Measure(kind, frozenset(mine), pauses, token_seconds)


def find(
    passage: Passage,
    run: Curves,
    names: Sequence[str],
    times: Sequence[tuple[float, float]],
    token_seconds: float,
) -> list[Event]:
    """Every event of a passage, the strongest first; `names` and `times` are of the whole text's words."""
    made = []
    for word in sorted({word for word in passage.words if word >= 0}):
        for kind in KINDS:
            measure = measure_of(passage, word, kind, token_seconds)
            size = measure(run)
            event = Event(measure, word, names[word], size, *times[word])
            if np.isfinite(size) and event.strength >= 1.0:
                made.append(event)
    return sorted(made, key=lambda event: -event.strength)


def at(events: Sequence[Event], seconds: float, length: float) -> Event:
    """The strongest event at a time; a pause counts from its word's end on."""
    if not 0 <= seconds <= length:
        raise ValueError(f"{seconds:.2f} s lies outside the clip (0 to {length:.2f} s)")
    for event in events:
        late = event.size if event.measure.kind == "pause" else 0.0
        if event.start_s - 0.02 <= seconds <= event.end_s + late + 0.02:
            return event
    raise ValueError(
        f"nothing stands out at {seconds:.2f} s: no rise or fall of {LEAST['pitch']:g} semitone, "
        f"no change of {LEAST['loudness']:g} dB, no pause of {LEAST['pause']:g} s"
    )
