"""What the benchmarks of few-shot, quantiser, noise and compression share: people, speaking and judging,
paired intervals, tables and plots. Everything is spoken through the engine and judged at 16 kHz.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from quality import RESULTS, SHARED, facts_of_run

from voxray import audio
from voxray.engine import tts
from voxray.evaluate import metrics, normalise, report, sets
from voxray.evaluate.named import NamedJudges
from voxray.evaluate.sets import Clip
from voxray.voice import Voice

FEW_SHOT = {"ljspeech": ("fewshot", "fewshot-test"), "librispeech-test-other": ("test", "test")}


@dataclass(frozen=True)
class Person:
    """A speaker with clips to learn from and clips to compare with; no clip is in both."""

    name: str
    sex: str
    train: list[Clip]
    held: list[Clip]


def people(shared: Path = SHARED, corpora: Sequence[str] = tuple(FEW_SHOT)) -> list[Person]:
    """The few-shot speakers: LJSpeech by its own split, LibriSpeech test-other by alternating clips."""
    clips = [c for c in sets.read_clips(shared / "speech") if c.corpus in corpora]
    made = []
    for corpus in corpora:
        for speaker in sorted({c.speaker for c in clips if c.corpus == corpus}):
            own = [c for c in clips if (c.corpus, c.speaker) == (corpus, speaker) and c.text]
            first, second = FEW_SHOT[corpus]
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


def ears(persons: Sequence[Person], judges: NamedJudges) -> dict[str, Ear]:
    """Everybody's `Ear`; impostors are the others of the same sex (all others where there are none)."""
    held = {p.name: embedded([c.wave() for c in p.held], judges) for p in persons}
    own = {p.name: embedded([c.wave() for c in p.train[:5]], judges) for p in persons}
    made = {}
    for person in persons:
        others = [p for p in persons if p is not person and p.sex == person.sex]
        others = others or [p for p in persons if p is not person]
        made[person.name] = Ear(
            held[person.name],
            {j: metrics.cosine(own[person.name][j], v) for j, v in held[person.name].items()},
            {
                j: float(np.mean([metrics.cosine(held[o.name][j], v) for o in others]))
                if others
                else 0.0
                for j, v in held[person.name].items()
            },
        )
    return made


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
    seed: int = 1, **options: Any,
) -> Spoken:  # fmt: skip
    """Say texts (text, language) in a voice and judge them."""
    made = [
        tts(text, voice, model=model, seed=seed, language=language, **options)
        for text, language in texts
    ]
    waves = [audio.resample(m.audio, m.sample_rate, sets.RATE) for m in made]
    spent = sum(m.timings["total"] for m in made) / max(1e-6, sum(m.seconds for m in made))
    return judge(waves, texts, judges, ear, spent)


def judge(
    waves: Sequence[np.ndarray], texts: Sequence[tuple[str, str]], judges: NamedJudges, ear: Ear,
    rtf: float = float("nan"),
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
    return Spoken(errors, words, near, [float(judges.naturalness(w)) for w in waves], rtf)


def paired(
    one: Sequence[float], other: Sequence[float], draws: int = 2000
) -> tuple[float, float, float]:
    """Mean difference `other - one` of paired values with its 95 % bootstrap interval."""
    gap = np.asarray(other, np.float64) - np.asarray(one, np.float64)
    gap = gap[np.isfinite(gap)]
    if not len(gap):
        return (float("nan"),) * 3
    drawn = np.random.default_rng(0).integers(0, len(gap), (draws, len(gap)))
    low, high = np.quantile(gap[drawn].mean(1), [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)


def finish(
    title: str, name: str, parts: dict[str, str], record: Any, out: Path | None, quick: bool,
    plot: Callable[[Any], None] | None = None,
) -> None:  # fmt: skip
    """Print the tables; write them (and the plot) under results unless quick; JSON where asked."""
    facts = facts_of_run() | ({"mode": "quick: too few runs to conclude from"} if quick else {})
    text = report.page(title, facts, parts)
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    if out is not None:
        out.write_text(json.dumps({"facts": facts, **record}, indent=1), encoding="utf-8")
    if plot is not None:
        draw(
            RESULTS / f"{name}.svg" if not quick else (out or Path(name)).with_suffix(".svg"), plot
        )


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
