"""Runs text x voice x seed through the engine and lets the judges score what comes out.

`Task` (what to say, whose voice) -> `Take` (the audio at 16 kHz) -> `Score` (one clip's figures) ->
`summarise` (figures of a row with intervals). `Casting` holds what is known of real speakers: their
own clips' similarity, impostors' similarity, and the line-up of twenty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import audio
from . import metrics, normalise, sets
from .judges import Judges, Wave
from .metrics import Figure
from .sets import Clip, Line, Reference

Speak = Callable[["Task"], "Take"]
BATCH = 8  # takes that are recognised at once


@dataclass(frozen=True)
class Task:
    """Something to be said for a row of the table. `voice` is what `tts` takes."""

    row: str
    line: Line
    voice: Any
    reference: Reference | None = None  # whom it should sound like
    transcript: str = ""  # what the reference says: must not leak
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Take:
    """What came out, at 16 kHz; `compute_s` is what it cost (nan for recordings)."""

    task: Task
    wave: Wave
    compute_s: float = float("nan")
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One clip, judged. `pinyin_*` are 0 for English; dictionaries go by judge."""

    row: str
    id: str
    kind: str
    language: str
    speaker: str
    seed: int
    text: str
    heard: str
    errors: int
    length: int
    pinyin_errors: int
    pinyin_length: int
    lost: int
    repeated: int
    added: int
    leaked: list[str]
    similarity: dict[str, float]
    own: dict[str, float]
    impostor: dict[str, float]
    identified: dict[str, bool]
    dnsmos: float
    seconds: float
    compute_s: float
    warnings: list[str] = field(default_factory=list)


def engine_speak(task: Task) -> Take:
    """Say it through the public engine."""
    from ..engine import tts

    began = time.perf_counter()
    made = tts(
        task.line.text, task.voice, seed=task.seed, language=task.line.language, **task.options
    )
    spent = time.perf_counter() - began
    wave = audio.resample(made.audio, made.sample_rate, sets.RATE)
    return Take(task, wave, spent, tuple(made.warnings))


def recording(row: str, clip: Clip, kind: str = "sentence") -> Take:
    """A recording of a real person, or of the teacher, as a take of its own text."""
    line = Line(clip.path.stem, clip.text, clip.language, kind)
    return Take(Task(row, line, None), clip.wave())


class Casting:
    """Embeddings of real clips by each judge, kept in memory and, if wanted, in a file."""

    def __init__(self, judges: Judges, pool: Sequence[Reference], keep: Path | None = None) -> None:
        self.judges = judges
        self.pool = [sets.with_sex(reference) for reference in pool]
        self._keep = keep
        self._known: dict[str, NDArray[np.float32]] = {}
        if keep is not None and keep.is_file():
            with np.load(keep) as stored:
                self._known = {name: stored[name] for name in stored.files}

    def save(self) -> None:
        """Write the embeddings for the next run."""
        if self._keep is not None and self._known:
            np.savez(self._keep, **self._known)  # type: ignore[arg-type]

    def _embedding(self, clip: Clip, number: int) -> NDArray[np.float32]:
        key = f"{self.judges.speakers[number].name}:{clip.key}".replace("/", "|")
        if key not in self._known:
            self._known[key] = self.judges.speakers[number](clip.wave())
        return self._known[key]

    def _named(self, reference: Reference) -> Reference:
        found = (other for other in self.pool if other.name == reference.name)
        return next(found, reference)

    def compare(self, wave: Wave, reference: Reference) -> dict[str, dict[str, float]]:
        """How like the reference's speaker a wave sounds: similarity, own, impostor, identified."""
        reference = self._named(reference)
        made: dict[str, dict[str, float]] = {
            name: {} for name in ("similarity", "own", "impostor", "identified")
        }
        others = sets.impostors(reference, self.pool)
        line_up = sets.line_up(reference, self.pool)
        for number, judge in enumerate(self.judges.speakers):
            voice = judge(wave)
            target = self._embedding(reference.clip, number)
            own = [metrics.cosine(self._embedding(clip, number), target) for clip in reference.own]
            strangers = [
                metrics.cosine(self._embedding(other.clip, number), target) for other in others
            ]
            enrolled = np.stack([self._embedding(other.clip, number) for other in line_up])
            made["similarity"][judge.name] = metrics.cosine(voice, target)
            made["own"][judge.name] = float(np.mean(own)) if own else float("nan")
            made["impostor"][judge.name] = float(np.mean(strangers)) if others else float("nan")
            made["identified"][judge.name] = metrics.identify(voice, enrolled) == 0
        return made


def score(takes: Iterable[Take], judges: Judges, casting: Casting | None = None) -> Iterator[Score]:
    """Judge takes as they come, a batch of one language at a time."""
    waiting: dict[str, list[Take]] = {}
    for take in takes:
        batch = waiting.setdefault(take.task.line.language, [])
        batch.append(take)
        if len(batch) == BATCH:
            yield from _judge(waiting.pop(take.task.line.language), judges, casting)
    for batch in waiting.values():
        yield from _judge(batch, judges, casting)


def _judge(takes: list[Take], judges: Judges, casting: Casting | None) -> Iterator[Score]:
    language = takes[0].task.line.language
    heard = judges.recogniser([take.wave for take in takes], language)
    for take, text in zip(takes, heard, strict=True):
        yield _score(take, text, judges, casting)


def _score(take: Take, heard: str, judges: Judges, casting: Casting | None) -> Score:
    task, line = take.task, take.task.line
    said = normalise.readings(line.text, line.language)
    alignment = metrics.best_alignment(said, normalise.readings(heard, line.language))
    runs, syllables = alignment, None
    transcript = normalise.readings(task.transcript, line.language)[0] if task.transcript else []
    if line.language == "zh":  # homophones are the recogniser's errors: runs go by sound
        syllables = metrics.align(
            normalise.toneless(list(alignment.target)), normalise.toneless(list(alignment.heard))
        )
        runs, transcript = syllables, normalise.toneless(transcript)
    length = metrics.RUN[line.language]
    likeness: dict[str, Any] = {"similarity": {}, "own": {}, "impostor": {}, "identified": {}}
    if casting is not None and task.reference is not None and len(take.wave):
        likeness = casting.compare(take.wave, task.reference)
    repeated = runs.repeated(length)
    return Score(
        row=task.row,
        id=line.id,
        kind=line.kind,
        language=line.language,
        speaker=task.reference.name if task.reference else str(task.voice or ""),
        seed=task.seed,
        text=line.text,
        heard=heard,
        errors=alignment.errors,
        length=len(alignment.target),
        pinyin_errors=syllables.errors if syllables else 0,
        pinyin_length=len(syllables.target) if syllables else 0,
        lost=len(runs.lost(length)),
        repeated=len(repeated),
        added=len(runs.inserted(length)) - len(repeated),
        leaked=metrics.leaked(runs, transcript, line.language),
        dnsmos=judges.naturalness(take.wave),
        seconds=len(take.wave) / sets.RATE,
        compute_s=take.compute_s,
        warnings=list(take.warnings),
        **likeness,
    )


def run(
    tasks: Iterable[Task],
    judges: Judges,
    casting: Casting | None = None,
    speak: Speak = engine_speak,
) -> Iterator[Score]:
    """Say and judge every task."""
    return score((speak(task) for task in tasks), judges, casting)


def summarise(scores: Sequence[Score]) -> dict[str, Figure]:
    """Figures of one row: rates in percent, 95 % intervals over texts; the unknown is left out."""
    texts = [score.id for score in scores]

    def rate(values: Iterable[float], below: Iterable[float] | None = None) -> Figure:
        lengths = None if below is None else list(below)
        return metrics.figure([100.0 * value for value in values], lengths, texts)

    made = {
        "error": rate((s.errors for s in scores), (s.length for s in scores)),
        "pinyin": rate((s.pinyin_errors for s in scores), (s.pinyin_length for s in scores)),
        "lost or repeated": rate(bool(s.lost or s.repeated) for s in scores),
        "added": rate(bool(s.added) for s in scores),
        "leaked": rate(bool(s.leaked) for s in scores),
        "dnsmos": metrics.figure([s.dnsmos for s in scores], None, texts),
        "rtf": metrics.figure([s.compute_s for s in scores], [s.seconds for s in scores], texts),
    }
    for judge in sorted({name for s in scores for name in s.similarity}):
        known = [s for s in scores if judge in s.similarity]
        made |= _likeness(known, judge)
    return {name: figure for name, figure in made.items() if figure.count}


def _likeness(scores: Sequence[Score], judge: str) -> dict[str, Figure]:
    above = [s.similarity[judge] - s.impostor[judge] for s in scores]
    spread = [s.own[judge] - s.impostor[judge] for s in scores]
    texts = [s.id for s in scores]
    found = [100.0 * s.identified[judge] for s in scores]
    return {
        f"similarity {judge}": metrics.figure(above, spread, texts),
        f"identified {judge}": metrics.figure(found, None, texts),
        f"cosine {judge}": metrics.figure([s.similarity[judge] for s in scores], None, texts),
    }


def to_json(score: Score) -> dict[str, Any]:
    """A score as JSON can hold it."""
    return {
        name: (None if isinstance(value, float) and np.isnan(value) else value)
        for name, value in asdict(score).items()
    }


def from_json(record: dict[str, Any]) -> Score:
    """The inverse of `to_json`."""
    floats = {name: float("nan") for name in ("dnsmos", "seconds", "compute_s")}
    known = {name: value for name, value in record.items() if value is not None}
    return Score(**(floats | known))
