"""What the rows of `benchmarks/explain.py` share: the model, traces made once, teacher clips with times.

A row is a function `row_NAME(plan)` in a file `explain_rows_*.py` that returns `Row`s. `Results` keeps them,
in a JSON file if wanted, and reads back what an earlier run left there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from voxray import audio
from voxray.bundle import Bundle
from voxray.explain import Trace, trace
from voxray.explain.statistics import Interval
from voxray.explain.tokens import TokenCorpus, Utterance, collect
from voxray.packaged import BUILTIN
from voxray.synthesis import WordTime
from voxray.text import Phonemes
from voxray.train.align import teacher_spans
from voxray.train.corpus import Clip, read_manifest

HERE = Path(__file__).resolve().parent
WHOLE, QUICK = 50, 6  # utterances
NEED_NO_TRACES = (
    "alignment",
    "two_languages",
    "roles",
    "token_purity",
    "token_probes",
    "unlabelled_units",
    "map",
    "loops",
)
NEED_SHORT = ("sound_completeness", "sensitivity", "layers_of_pitch", "concept", "weighted_head")
NEED_TIMED = ("alignment", "ledger")
NEED_CORPUS = ("token_purity", "token_probes", "unlabelled_units", "map", "ledger")
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
    data: dict[str, Any] | None = None  # what else a later step needs

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

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """Back from plain data."""
        made = cls(**data)
        if isinstance(data["figure"], dict):
            made = replace(made, figure=Interval(**data["figure"]))
        return made


@dataclass(frozen=True)
class Found:
    """What one row's function gave, and the seconds it took."""

    rows: list[Row]
    seconds: float


class Results:
    """Rows by the name of their function, in the order of `names`; kept in a file as they come."""

    def __init__(self, weights: str, quick: bool, path: Path | None, names: list[str]) -> None:
        self.weights, self.quick, self.path, self.names = weights, quick, path, names
        self.found: dict[str, Found] = {}
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text("utf-8"))
            same = data["weights"] == self.weights and data["quick"] == self.quick
            found = {
                name: Found([Row.from_json(row) for row in part["rows"]], part["seconds"])
                for name, part in data["found"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no figures of this benchmark: name another") from error
        if not same:
            raise ValueError(f"{path} is of other weights or another size of run: name another")
        self.found = found

    def add(self, name: str, rows: list[Row], seconds: float) -> None:
        """Show and keep a row's figures."""
        for row in rows:
            print(f"{row.line()}   ({name}, {seconds:.0f} s)", flush=True)
        self.found[name] = Found(rows, seconds)
        if self.path is None:
            return
        record = {
            "weights": self.weights,
            "quick": self.quick,
            "found": {
                n: {"seconds": round(f.seconds, 1), "rows": [row.to_json() for row in f.rows]}
                for n, f in self.ordered()
            },
        }
        part = self.path.with_name(f".{self.path.name}.part")
        text = json.dumps(record, ensure_ascii=False, indent=1, default=_plain)
        part.write_text(text + "\n", "utf-8")
        part.replace(self.path)

    def ordered(self) -> list[tuple[str, Found]]:
        """In the order of the files."""
        return [(name, self.found[name]) for name in self.names if name in self.found]

    @property
    def rows(self) -> list[Row]:
        """All figures."""
        return [row for _, found in self.ordered() for row in found.rows]

    @property
    def seconds(self) -> float:
        """What all rows took."""
        return sum(found.seconds for found in self.found.values())


def _plain(value: Any) -> Any:
    """A NumPy number or truth value as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a figure is a {type(value).__name__}")


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
    def weights(self) -> str:
        """Short digest of the weights that are measured."""
        folder = BUILTIN / "mini" if self.model is None else self.model
        path = folder / "weights.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"no weights.safetensors in {folder.name}")
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    def prepare(self, names: list[str]) -> None:
        """Make what several rows share, before they part ways."""
        if any(name not in NEED_NO_TRACES for name in names):
            _ = self.traces
        if any(name in NEED_SHORT for name in names):
            _ = self.short_traces
        if any(name in NEED_TIMED for name in names) and self.has_teacher:
            _ = self.timed
        if any(name in NEED_CORPUS for name in names) and self.has_teacher:
            _ = self.corpus

    @property
    def has_teacher(self) -> bool:
        """Whether the teacher's speech lies there."""
        return self._manifest.is_file()

    @property
    def _manifest(self) -> Path:
        return self.shared / "teacher" / "speech" / "manifest.tsv"

    @cached_property
    def corpus(self) -> tuple[TokenCorpus, list[Timed]]:
        """Tokens of teacher clips with exact phoneme times."""
        clips = list(self._timed("train", 100 if self.quick else 450))
        said = [clip.utterance() for clip in clips]
        return collect(self.models, said, supervised=True), clips

    @cached_property
    def texts(self) -> list[str]:
        """Half English, half Mandarin sentences that are in no training text."""
        return self._mixed([_texts(language, "sentence") for language in ("en", "zh")])

    @cached_property
    def short_texts(self) -> list[str]:
        """The shortest of each language, for what costs many runs of the generator an utterance."""
        found = [_texts(language, "short", "sentence") for language in ("en", "zh")]
        return self._mixed([sorted(texts, key=len) for texts in found])

    @cached_property
    def other_traces(self) -> list[Trace]:
        """Ten utterances (two, quick) that are not among the short ones: to choose on."""
        rest = [text for text in self._pool() if text not in set(self.short_texts)]
        return [trace(text, seed=7, model=self.models) for text in rest[: 2 if self.quick else 10]]

    def _pool(self) -> list[str]:
        found = [sorted(_texts(language, "sentence"), key=len) for language in ("en", "zh")]
        return [text for pair in zip(*found, strict=True) for text in pair]

    def _mixed(self, found: list[list[str]]) -> list[str]:
        half = (self.count + 1) // 2
        pairs = zip(*[texts[:half] for texts in found], strict=True)
        return [text for pair in pairs for text in pair][: self.count]

    @cached_property
    def traces(self) -> list[Trace]:
        """Each text said once and opened."""
        return [trace(text, seed=7, model=self.models) for text in self.texts]

    @cached_property
    def short_traces(self) -> list[Trace]:
        """The same of the short texts."""
        return [trace(text, seed=7, model=self.models) for text in self.short_texts]

    @cached_property
    def timed(self) -> list[Timed]:
        """Unseen teacher clips with exact times."""
        return list(self._timed("test", 120 if not self.quick else 24))

    def _timed(self, split: str, most: int) -> Iterator[Timed]:
        path = self._manifest
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


def _texts(language: str, *kinds: str) -> list[str]:
    lines = (HERE / "texts" / f"{language}.tsv").read_text("utf-8").splitlines()[1:]
    return [row[1] for row in (line.split("\t") for line in lines) if row[3] in kinds]


def _words(phonemes: Phonemes, spans: np.ndarray) -> list[WordTime]:
    made = []
    for index, word in enumerate(phonemes.words):
        rows = [place for place, item in enumerate(phonemes.items) if item.word == index]
        begin, end = (spans[rows[0], 0], spans[rows[-1], 1]) if rows else (0.0, 0.0)
        made.append(WordTime(word.text, float(begin), float(end), word.start, word.end))
    return made
