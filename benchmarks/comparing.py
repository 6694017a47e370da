"""What the benchmarks of few-shot, quantiser, noise and compression share: people, speaking and judging,
kept rows, paired intervals, tables and plots. Everything is spoken through the engine and judged at 16 kHz.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import typer
from quality import RESULTS, SHARED, facts_of_run

from voxray import audio
from voxray.engine import tts
from voxray.evaluate import metrics, normalise, report, sets
from voxray.evaluate.named import NamedJudges
from voxray.evaluate.sets import Clip
from voxray.voice import Voice

IMAGES = Path(__file__).parents[1] / "docs" / "img"
T = TypeVar("T")
Splits = dict[str, tuple[str, str]]  # by corpus: which part is learnt from, which is held out
FEW_SHOT: Splits = {
    "ljspeech": ("fewshot", "fewshot-test"), "librispeech-test-other": ("test", "test"),
}  # fmt: skip
DEV: Splits = {"speechocean762": ("dev", "dev")}  # to try settings on


@dataclass(frozen=True)
class Person:
    """A speaker with clips to learn from and clips to compare with; no clip is in both."""

    name: str
    sex: str
    train: list[Clip]
    held: list[Clip]


def people(shared: Path = SHARED, corpora: Splits = FEW_SHOT) -> list[Person]:
    """The few-shot speakers: LJSpeech by its own split, LibriSpeech test-other by alternating clips."""
    clips = [c for c in sets.read_clips(shared / "speech") if c.text]
    made = []
    for corpus, (first, second) in corpora.items():
        mine = [c for c in clips if c.corpus == corpus and c.split in (first, second)]
        for speaker in sorted({c.speaker for c in mine}):
            own = [c for c in mine if c.speaker == speaker]
            train = [c for c in own if c.split == first]
            held = [c for c in own if c.split == second]
            if first == second:
                held = own[1:6:2]
                train = [c for c in own if c not in held]
            made.append(Person(f"{corpus}/{speaker}", own[0].sex, train, held))
    if not made:
        raise FileNotFoundError(f"no few-shot speakers in {shared / 'speech'}")
    return made


def up_to(clips: Sequence[Clip], seconds: float) -> list[tuple[np.ndarray, str]]:
    """Waves at 16 kHz with texts, `seconds` in all; the last clip is left out rather than cut."""
    chosen: list[tuple[np.ndarray, str]] = []
    used = 0.0
    for clip in clips:
        if used + clip.seconds <= seconds or not chosen:
            chosen.append((clip.wave(), clip.text))
            used += clip.seconds
    return chosen


@dataclass(frozen=True)
class Ear:
    """One person as the judges hear them: mean embedding, own and impostors' similarity."""

    target: dict[str, np.ndarray]
    same: dict[str, float]
    impostor: dict[str, float]

    def normalised(self, similarity: dict[str, float]) -> dict[str, float]:
        """(s - impostor) / (same - impostor) by judge."""
        return {
            name: metrics.normalised_similarity(value, self.same[name], self.impostor[name])
            for name, value in similarity.items()
        }


def ears(
    persons: Sequence[Person], judges: NamedJudges, keep: Path | None = None
) -> dict[str, Ear]:
    """Everybody's `Ear`; impostors are the others of the same sex (all others where there are none).

    What the judges hear of each person is kept in a file, where one is given.
    """
    known = json.loads(keep.read_text("utf-8")) if keep is not None and keep.is_file() else {}
    for person in persons:
        for part, clips in (("held", person.held), ("own", person.train[:5])):
            if f"{person.name} {part}" not in known:
                heard = embedded([c.wave() for c in clips], judges)
                known[f"{person.name} {part}"] = {j: v.tolist() for j, v in heard.items()}
                if keep is not None:
                    keep.write_text(json.dumps(known), encoding="utf-8")
    vectors = {
        name: {j: np.asarray(v, np.float32) for j, v in heard.items()}
        for name, heard in known.items()
    }
    return {person.name: _ear(person, persons, vectors) for person in persons}


def _ear(
    person: Person, persons: Sequence[Person], vectors: dict[str, dict[str, np.ndarray]]
) -> Ear:  # fmt: skip
    others = [p for p in persons if p is not person and p.sex == person.sex]
    others = others or [p for p in persons if p is not person]
    held, own = vectors[f"{person.name} held"], vectors[f"{person.name} own"]
    strangers = {
        j: [metrics.cosine(vectors[f"{o.name} held"][j], v) for o in others]
        for j, v in held.items()
    }
    return Ear(
        held,
        {j: metrics.cosine(own[j], v) for j, v in held.items()},
        {j: float(np.mean(values)) if values else 0.0 for j, values in strangers.items()},
    )


def embedded(waves: Sequence[np.ndarray], judges: NamedJudges) -> dict[str, np.ndarray]:
    made = {}
    for judge in judges.speakers:
        mean = np.mean([judge(wave) for wave in waves], axis=0)
        made[judge.name] = mean / max(1e-9, float(np.linalg.norm(mean)))
    return made


@dataclass(frozen=True)
class Spoken:
    """Judged clips of one setting: errors and words of each, similarity and rating of each, RTF."""

    errors: list[int]
    words: list[int]
    similarity: list[dict[str, float]]
    natural: list[float]
    rtf: float

    @property
    def error(self) -> float:
        """Word (character) errors in percent."""
        return 100.0 * sum(self.errors) / max(1, sum(self.words))

    @property
    def mean_similarity(self) -> dict[str, float]:
        """By judge."""
        names = self.similarity[0] if self.similarity else {}
        return {n: float(np.mean([s[n] for s in self.similarity])) for n in names}


def speak(
    texts: Sequence[tuple[str, str]], voice: Voice, model: Any, judges: NamedJudges, ear: Ear,
    seed: int = 1, rated: bool = True, **options: Any,
) -> Spoken:  # fmt: skip
    """Say texts (text, language) in a voice, once each, and judge them, how natural they sound only where `rated`."""
    made = [
        tts(text, voice, model=model, seed=seed, language=language, **{"takes": 1, **options})
        for text, language in texts
    ]
    waves = [audio.resample(m.audio, m.sample_rate, sets.RATE) for m in made]
    spent = sum(m.timings["total"] for m in made) / max(1e-6, sum(m.seconds for m in made))
    return judge(waves, texts, judges, ear, spent, rated)


def judge(
    waves: Sequence[np.ndarray], texts: Sequence[tuple[str, str]], judges: NamedJudges, ear: Ear,
    rtf: float = float("nan"), rated: bool = True,
) -> Spoken:  # fmt: skip
    """Judge waves [N] at 16 kHz of known texts."""
    errors, words = [0] * len(texts), [1] * len(texts)
    for language in sorted({language for _, language in texts}):
        own = [n for n, (_, other) in enumerate(texts) if other == language]
        heard = judges.recogniser([waves[n] for n in own], language)
        for n, said in zip(own, heard, strict=True):
            found = metrics.best_alignment(
                normalise.readings(texts[n][0], language), normalise.readings(said, language)
            )
            errors[n], words[n] = found.errors, len(found.target)
    near = [
        {j.name: metrics.cosine(j(wave), ear.target[j.name]) for j in judges.speakers}
        for wave in waves
    ]
    natural = [float(judges.naturalness(wave)) for wave in waves] if rated else []
    return Spoken(errors, words, near, natural, rtf)


def paired(
    one: Sequence[float], other: Sequence[float], draws: int = 2000
) -> tuple[float, float, float]:
    """Mean difference `other - one` of paired values with its 95 % bootstrap interval."""
    gap = np.asarray(other, np.float64) - np.asarray(one, np.float64)
    gap = gap[np.isfinite(gap)]
    if not len(gap):
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(0, len(gap), (draws, len(gap)))
    low, high = np.quantile(gap[drawn].mean(1), [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)


class Kept(Generic[T]):
    """Measured rows on disk, one JSON line each: a run that was cut off goes on after its last row.

    The first line names what was measured (`what`: weights, settings); rows of something else are refused.
    """

    def __init__(self, path: Path | None, kind: type[T], what: str) -> None:
        self.path, self.rows = path, list[T]()
        if path is None:
            return
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"what": what}) + "\n", encoding="utf-8")
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != {"what": what}:
            raise ValueError(f"{path} holds rows of another run ({first}); give another --keep")
        self.rows = [kind(**json.loads(line)) for line in lines if line.endswith("}")]

    def __call__(self, row: T) -> T:
        """Keep one more row."""
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")  # type: ignore[call-overload]
        return row

    def has(self, **wanted: Any) -> bool:
        """Whether a row with these entries was measured before."""
        return any(all(getattr(r, k) == v for k, v in wanted.items()) for r in self.rows)


def mine(share: str, items: Sequence[T]) -> list[T]:
    """`1/3` -> every third item from the second on: several processes share a run, and its `--keep`."""
    number, _, of = share.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise ValueError(f"--share is {share!r}; it wants NUMBER/OF, such as 0/2 and 1/2")
    return list(items)[int(number) :: int(of)]


def weights_of(folders: Iterable[Path]) -> str:
    """The first digits of the weights' SHA-256, of one model or of several."""
    files = [folder / "weights.safetensors" for folder in folders]
    return ", ".join(hashlib.sha256(f.read_bytes()).hexdigest()[:12] for f in files)


def interval(values: Sequence[float], draws: int = 2000) -> dict[str, float]:
    """Mean with its 95 % bootstrap interval, as docs/claims.md wants it."""
    value, low, high = paired([0.0] * len(values), values, draws)
    return {"value": value, "low": low, "high": high, "count": len(values)}


def finish(
    title: str, name: str, parts: dict[str, str], record: dict[str, Any], out: Path | None, quick: bool,
    plot: Callable[[Any], None] | None = None,
) -> None:  # fmt: skip
    """Print the tables; write them (and the plot) under results unless quick; JSON where asked."""
    facts = facts_of_run() | ({"mode": "quick: too few runs to conclude from"} if quick else {})
    facts["command"] = re.sub(r"(?<=[ '\"])/\S*/", "", facts["command"])  # no paths of this machine
    facts |= record.pop("facts", {})
    text = report.page(title, facts, parts)
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    if out is not None:
        out.write_text(json.dumps({"facts": facts, **record}, indent=1), encoding="utf-8")
    if plot is not None:
        draw(IMAGES / f"{name}.svg" if not quick else (out or Path(name)).with_suffix(".svg"), plot)


def draw(path: Path, plot: Callable[[Any], None]) -> None:
    """A matplotlib figure as a file; nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install 'voxray[explain]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9, 5), layout="constrained")
    plot(figure)
    figure.savefig(path)
    pyplot.close(figure)


def run(main: Callable[..., None], name: str) -> int:
    """The command: what is wrong comes out in one line."""
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    return 0
