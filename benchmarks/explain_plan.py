"""What the rows of `benchmarks/explain.py` share: the model, traces made once, teacher clips with times.

A row is a function `row_NAME(plan)` in a file `explain_rows_*.py` that returns `Row`s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from voxray import audio
from voxray.bundle import Bundle
from voxray.explain import Trace, trace
from voxray.explain.statistics import Interval
from voxray.explain.tokens import Utterance
from voxray.synthesis import WordTime
from voxray.text import Phonemes
from voxray.train.align import teacher_spans
from voxray.train.corpus import Clip, read_manifest

HERE = Path(__file__).resolve().parent
WHOLE, QUICK = 50, 6  # utterances
GOOD_MATCH = 1.0  # of our phonemes with the teacher's symbols; below, the clip's times are not used


class Unmeasured(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Row:
    """One figure beside its goal. `met` None: it has no goal, or was not measured."""

    name: str
    figure: Interval | float | None
    goal: str = ""
    met: bool | None = None
    unit: str = ""
    note: str = ""

    def value(self) -> str:
        """The figure as text."""
        if self.figure is None:
            return "not measured"
        shown = str(self.figure) if isinstance(self.figure, Interval) else f"{self.figure:.4g}"
        return f"{shown} {self.unit}".strip()

    def line(self) -> str:
        """One line for the terminal."""
        mark = {True: "met", False: "MISSED", None: "-"}[self.met]
        return (
            f"{self.name}: {self.value()} | goal {self.goal or '-'} | {mark} {self.note}".rstrip()
        )

    def markdown(self) -> str:
        """One line of the table."""
        mark = {True: "yes", False: "**no**", None: "-"}[self.met]
        return f"| {self.name} | {self.value()} | {self.goal or '-'} | {mark} | {self.note} |"

    def to_json(self) -> dict[str, object]:
        """As plain data."""
        made = asdict(self)
        made["figure"] = self.figure.to_json() if isinstance(self.figure, Interval) else self.figure
        return made


@dataclass(frozen=True)
class Timed:
    """A teacher's clip with the exact times of our phonemes and words."""

    clip: Clip
    wave: np.ndarray
    rate: int
    phonemes: Phonemes
    spans: np.ndarray  # [P, 2] seconds
    words: list[WordTime]

    def utterance(self) -> Utterance:
        """For figures about tokens."""
        symbols = tuple(item.symbol for item in self.phonemes.items)
        return Utterance(self.wave, self.rate, symbols, self.spans, self.clip.speaker)


@dataclass
class Plan:
    """What to measure on."""

    quick: bool
    shared: Path
    model: Path | None = None

    @property
    def count(self) -> int:
        """Utterances."""
        return QUICK if self.quick else WHOLE

    @cached_property
    def models(self) -> Bundle:
        """The model."""
        return Bundle.builtin() if self.model is None else Bundle.load(self.model)

    @cached_property
    def texts(self) -> list[str]:
        """Half English, half Mandarin sentences that are in no training text."""
        found: list[list[str]] = []
        for language in ("en", "zh"):
            lines = (HERE / "texts" / f"{language}.tsv").read_text("utf-8").splitlines()[1:]
            rows = [line.split("\t") for line in lines]
            found.append([row[1] for row in rows if row[3] == "sentence"])
        half = (self.count + 1) // 2
        return [text for pair in zip(*[texts[:half] for texts in found]) for text in pair][
            : self.count
        ]

    @cached_property
    def traces(self) -> list[Trace]:
        """Each text said once and opened."""
        return [trace(text, seed=7, model=self.models) for text in self.texts]

    @cached_property
    def timed(self) -> list[Timed]:
        """Unseen teacher clips with exact times."""
        return list(self._timed("test", 120 if not self.quick else 24))

    def train_clips(self, most: int) -> list[Timed]:
        """Teacher clips of many speakers, evenly over the list."""
        return list(self._timed("train", most))

    def _timed(self, split: str, most: int) -> Iterator[Timed]:
        path = self.shared / "teacher" / "speech" / "manifest.tsv"
        if not path.is_file():
            raise Unmeasured(f"no teacher speech in {self.shared.name}/: give --shared")
        clips = [clip for clip in read_manifest(path) if clip.split == split]
        front = self.models.text_pipeline()
        for clip in clips[:: max(1, len(clips) // most)][:most]:
            wave, rate = audio.read_audio(clip.path)
            phonemes = front(clip.text)
            frames = int(len(wave) / rate / 0.02)
            spans, quality = teacher_spans(phonemes, clip.phones, clip.durations, frames)
            if quality >= GOOD_MATCH:
                yield Timed(
                    clip, wave, rate, phonemes, spans * 0.02, _words(phonemes, spans * 0.02)
                )


def _words(phonemes: Phonemes, spans: np.ndarray) -> list[WordTime]:
    made = []
    for index, word in enumerate(phonemes.words):
        rows = [place for place, item in enumerate(phonemes.items) if item.word == index]
        begin, end = (spans[rows[0], 0], spans[rows[-1], 1]) if rows else (0.0, 0.0)
        made.append(WordTime(word.text, float(begin), float(end), word.start, word.end))
    return made
