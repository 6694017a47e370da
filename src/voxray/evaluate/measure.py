"""`voxray measure`: a list of items through a system, then through the judges; killed and resumed at will.

`FOLDER/systems/NAME/` holds one system: `audio/ID.flac`, `takes.jsonl` (what speaking cost) and
`scores.jsonl` (what the judges said), each row written as it is made. Speaking comes first and judging
after it, so that the peak memory is the system's own. An item that fails counts as all words lost: a
system gains nothing by refusing. `gallery` turns a folder into tables and a page with players.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from .. import audio
from . import metrics, normalise
from .judges import Judges, Wave
from .lists import Item
from .melody import melody_correlation
from .memory import peak_mb
from .metrics import Figure
from .sets import RATE

NAN = float("nan")
BATCH = 8
AUDIO = "flac"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """What speaking one item cost; `error` says why there is no audio."""

    id: str
    seed: int
    seconds: float = NAN
    compute_s: float = NAN
    first_audio_s: float = NAN
    memory_mb: float = NAN
    error: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Unique within a system."""
        return f"{self.id}.{self.seed}"


@dataclass(frozen=True)
class Judged:
    """One clip's scores. Dictionaries go by judge; nan: not measured."""

    id: str
    seed: int
    language: str
    text: str
    heard: str
    errors: int
    length: int
    lost: int
    repeated: int
    leaked: list[str]
    similarity: dict[str, float]  # to the prompt
    truth_similarity: dict[str, float]  # to the recording of the text, where there is one
    natural: float
    melody: float
    failed: bool = False

    @property
    def key(self) -> str:
        """As the take's."""
        return f"{self.id}.{self.seed}"


System = Callable[[Item, int, Path], Made]


class Folder:
    """One system's folder: what has been made and judged so far."""

    def __init__(self, root: Path, system: str) -> None:
        self.path = root / "systems" / system
        self.audio = self.path / "audio"
        self.audio.mkdir(parents=True, exist_ok=True)

    def wave_path(self, name: str, seed: int) -> Path:
        """Where an item's audio lies."""
        return self.audio / f"{name}.{seed}.{AUDIO}"

    def made(self) -> dict[str, Made]:
        """Takes kept before, by key; those whose audio is gone are made again."""
        takes = (Made(**row) for row in _rows(self.path / "takes.jsonl"))
        kept = (t for t in takes if t.error or self.wave_path(t.id, t.seed).is_file())
        return {take.key: take for take in kept}

    def judged(self) -> dict[str, Judged]:
        """Scores kept before, by key."""
        return {
            score.key: score
            for score in (Judged(**row) for row in _rows(self.path / "scores.jsonl"))
        }

    def add(self, row: Made | Judged) -> None:
        """Append one row; it is on disk when this returns."""
        name = "takes.jsonl" if isinstance(row, Made) else "scores.jsonl"
        text = json.dumps(_plain(asdict(row)), ensure_ascii=False)
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file; a last line that was cut off by a kill is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        floats = ("seconds", "compute_s", "first_audio_s", "memory_mb", "natural", "melody")
        for name, value in row.items():
            if value is None and name in floats:
                row[name] = NAN
            elif isinstance(value, dict):
                row[name] = {k: NAN if v is None else v for k, v in value.items()}
        yield row


def engine_system(model: Any = None, *, style: bool = False, **options: Any) -> System:
    """voxray itself, streamed through the gate. `style`: take the prompt's manner, too."""
    from ..engine import save, tts
    from ..voice import Voice

    def speak(item: Item, seed: int, out: Path) -> Made:
        models = tts.pipeline(model).models
        manner = style or bool(models.config.version)  # published models go on from the prompt
        voice = Voice.from_file(
            item.prompt, item.prompt_text if manner and item.prompt_text else None, model=models
        )
        began = time.perf_counter()
        stream = tts.stream(
            item.text, voice, model=model, seed=seed, language=item.language, **options
        )
        first = NAN
        for chunk in stream:
            if math.isnan(first) and len(chunk):
                first = time.perf_counter() - began
        spent = time.perf_counter() - began
        made = stream.synthesis
        save(made, out)
        return Made(item.id, seed, made.seconds, spent, first, peak_mb(), "", list(made.warnings))

    return speak


def command_system(template: str) -> System:
    """Another system, by its command."""
    from .adapter import CommandSystem

    run = CommandSystem(template)

    def speak(item: Item, seed: int, out: Path) -> Made:
        wanted = out.with_suffix(".wav")
        cost = run(item, seed, wanted)
        wave, rate = audio.read_audio(wanted)
        _keep(wave, rate, out)
        wanted.unlink()
        return Made(item.id, seed, len(wave) / rate, cost.seconds, NAN, cost.memory_mb)

    return speak


def _keep(wave: Wave, rate: int, out: Path) -> None:
    """Another system's wave, losslessly beside ours; it is no synthesis of this engine: no gate."""
    beside = out.with_name(f".{out.name}.part")
    soundfile.write(beside, wave, rate, format="FLAC")
    beside.replace(out)


def speak_all(
    items: Sequence[Item], seeds: int, system: System, folder: Folder, say: Say = lambda line: None
) -> int:
    """Speak what has not been spoken yet; returns how many were."""
    done = folder.made()
    fresh = 0
    for number, item in enumerate(items, start=1):
        for seed in range(seeds):
            if f"{item.id}.{seed}" in done:
                continue
            try:
                take = system(item, seed, folder.wave_path(item.id, seed))
            except (OSError, ValueError) as error:
                take = Made(item.id, seed, error=" ".join(str(error).split())[:300])
            folder.add(take)
            fresh += 1
        say(f"{number} of {len(items)} spoken")
    return fresh


def judge_all(
    items: Sequence[Item], folder: Folder, judges: Judges, say: Say = lambda line: None
) -> int:
    """Judge what has not been judged yet, a batch of one language at a time; returns how many."""
    done = folder.judged()
    known = {item.id: item for item in items}
    todo = [t for t in folder.made().values() if t.key not in done and t.id in known]
    clips = (
        (known[t.id], t.seed, None if t.error else heard(folder.wave_path(t.id, t.seed)))
        for t in todo
    )
    ears = Ears(judges)
    for count, score in enumerate(judge_clips(clips, ears), start=1):
        folder.add(score)
        say(f"{count} of {len(todo)} judged")
    return len(todo)


def heard(path: Path) -> Wave:
    wave, rate = audio.read_audio(path)
    return audio.resample(wave, rate, RATE)


class Ears:
    """The judges, with the embeddings and waves of prompts and recordings kept in memory."""

    def __init__(self, judges: Judges) -> None:
        self.judges = judges
        self._known: dict[tuple[str, Path], Any] = {}

    def similarity(self, wave: Wave, path: Path | None) -> dict[str, float]:
        """How like the recording at `path` a wave sounds, by judge."""
        if path is None or not len(wave):
            return {}
        made = {}
        for judge in self.judges.speakers:
            key = (judge.name, path)
            if key not in self._known:
                self._known[key] = judge(heard(path))
            made[judge.name] = metrics.cosine(judge(wave), self._known[key])
        return made

    def melody(self, wave: Wave, truth: Path | None) -> float:
        """F0 correlation with the recording of the same text."""
        return NAN if truth is None else melody_correlation(wave, heard(truth))


Clip = tuple[Item, int, Wave | None]


def judge_clips(clips: Iterable[Clip], ears: Ears) -> Iterator[Judged]:
    """Judge waves as they come; None (or an empty wave) is a failure: every word is lost."""
    waiting: dict[str, list[Clip]] = {}
    for item, seed, wave in clips:
        if wave is None or not len(wave):
            yield _failure(item, seed)
            continue
        batch = waiting.setdefault(item.language, [])
        batch.append((item, seed, wave))
        if len(batch) == BATCH:
            yield from _judge(waiting.pop(item.language), ears)
    for batch in waiting.values():
        yield from _judge(batch, ears)


def _judge(batch: list[Clip], ears: Ears) -> Iterator[Judged]:
    waves = [wave for _, _, wave in batch if wave is not None]
    heard = ears.judges.recogniser(waves, batch[0][0].language)
    for (item, seed, _), wave, text in zip(batch, waves, heard, strict=True):
        counted = count_words(item, text)
        yield Judged(
            id=item.id,
            seed=seed,
            language=item.language,
            text=item.text,
            heard=text,
            similarity=ears.similarity(wave, item.prompt),
            truth_similarity=ears.similarity(wave, item.truth),
            natural=float(ears.judges.naturalness(wave)),
            melody=ears.melody(wave, item.truth),
            **counted,
        )


def count_words(item: Item, heard: str) -> dict[str, Any]:
    """Errors, length, lost and repeated runs, leaked words of one text against what was heard."""
    language = item.language
    alignment = metrics.best_alignment(
        normalise.readings(item.text, language), normalise.readings(heard, language)
    )
    runs = alignment
    spoken = normalise.readings(item.prompt_text, language)[0] if item.prompt_text else []
    if language == "zh":  # homophones are the recogniser's errors: runs go by sound
        target, said = list(alignment.target), list(alignment.heard)
        runs = metrics.align(normalise.toneless(target), normalise.toneless(said))
        spoken = normalise.toneless(spoken)
    length = metrics.RUN[language]
    return {
        "errors": alignment.errors,
        "length": len(alignment.target),
        "lost": len(runs.lost(length)),
        "repeated": len(runs.repeated(length)),
        "leaked": metrics.leaked(runs, spoken, language),
    }


def _failure(item: Item, seed: int) -> Judged:
    counted = count_words(item, "")
    return Judged(
        item.id, seed, item.language, item.text, "", counted["length"], counted["length"],
        1, 0, [], {}, {}, NAN, NAN, failed=True,
    )  # fmt: skip


def figures(scores: Sequence[Judged], takes: Sequence[Made]) -> dict[str, Figure]:
    """A system's figures with 95 % intervals over texts; what was not measured is left out."""
    ids = [score.id for score in scores]

    def mean(values: Iterable[float], below: Iterable[float] | None = None) -> Figure:
        lengths = None if below is None else list(below)
        return metrics.figure(list(values), lengths, ids)

    made = {
        "error %": mean((100.0 * s.errors for s in scores), (s.length for s in scores)),
        "lost %": mean(100.0 * bool(s.lost) for s in scores),
        "repeated %": mean(100.0 * bool(s.repeated) for s in scores),
        "leaked %": mean(100.0 * bool(s.leaked) for s in scores),
        "failed %": mean(100.0 * s.failed for s in scores),
    }
    judges = sorted({name for s in scores for name in s.similarity})
    for name in judges:
        made[f"similarity {name}"] = mean(s.similarity.get(name, NAN) for s in scores)
    for name in sorted({name for s in scores for name in s.truth_similarity}):
        made[f"to recording {name}"] = mean(s.truth_similarity.get(name, NAN) for s in scores)
    made["natural"] = mean(s.natural for s in scores)
    made["F0 r"] = mean(s.melody for s in scores)
    made |= _costs(takes)
    return {name: figure for name, figure in made.items() if figure.count}


def _costs(takes: Sequence[Made]) -> dict[str, Figure]:
    ids = [take.id for take in takes]
    peaks = [take.memory_mb for take in takes if math.isfinite(take.memory_mb)]
    peak = max(peaks, default=NAN)
    return {
        "RTF": metrics.figure([t.compute_s for t in takes], [t.seconds for t in takes], ids),
        "first audio s": metrics.figure([t.first_audio_s for t in takes], None, ids),
        "memory MB": Figure(peak, peak, peak, len(peaks)),
    }
