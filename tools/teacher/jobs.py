"""Texts -> jobs for `speak.py`: what is said, by which mix of voices, with whose prosody, how fast.

    python jobs.py --teacher FOLDER --model packed --count 30000 --out jobs.jsonl

Texts: the teacher's tables (56 %), two of them joined (16 %), and words thrown together (28 %), which teach phonemes
that sentences hold rarely. Timbres: a voice as it is (22 %), a mix within its language (28 %), a mix of any voices
(50 %); all but the first borrow the prosody of a native voice of the same sex, so that timbre and manner vary apart.
Each line also holds our own phonemes, so that the GPU machine needs no dictionaries. Test voices and texts stay out.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import command
import jieba
from packed import voice_names

from voxray.text import TextPipeline
from voxray.text.english import lexicon
from voxray.train.workers import ahead

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
NATIVE = {"en": "ab", "zh": "z"}  # first letters of voices: American, British; Mandarin
TEST_VOICES = ("bf_lily", "am_onyx", "zm_yunxia")
TABLE, JOINED = 0.56, 0.16
ALONE, WITHIN = 0.22, 0.28
LONGEST = {"en": 150, "zh": 44}  # characters of two joined texts
LEAST_WEIGHT = 0.05
COMMON = 60  # occurrences of a Mandarin word in jieba's corpus
SYMBOLS = (3, 300)
Mix = list[tuple[str, float]]


def read_texts(path: Path) -> list[str]:
    """The column `text` of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [r["text"] for r in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


class Texts:
    """Draws texts of one language; every text of the table comes once before one comes twice."""

    def __init__(self, language: str, table: list[str], rng: random.Random) -> None:
        if len(table) < 2:
            raise ValueError(f"{len(table)} texts in {language}; at least 2 are needed")
        self.language, self.table, self.rng = language, table, rng
        self.deck: list[str] = []
        self.spoken = sorted({w.lower() for t in table for w in re.findall(r"[A-Za-z]{2,}", t)})

    def draw(self) -> str:
        """A text of the table, two joined, or words thrown together."""
        chance = self.rng.random()
        if chance < TABLE:
            return self._next()
        return self._joined() if chance < TABLE + JOINED else self._words()

    def _next(self) -> str:
        if not self.deck:
            self.deck = self.rng.sample(self.table, len(self.table))
        return self.deck.pop()

    def _joined(self) -> str:
        space = " " if self.language == "en" else ""
        for _ in range(100):
            pair = self.rng.sample(self.table, 2)
            if sum(map(len, pair)) <= LONGEST[self.language]:
                return space.join(pair)
        return pair[0]

    def _words(self) -> str:
        rng = self.rng
        if self.language == "zh":
            words = rng.choices(*mandarin_words(), k=rng.randint(1, 7))
            if len(words) > 3 and rng.random() < 0.5:
                words[len(words) // 2] += "，"
            return "".join(words) + rng.choice("。。。？！")
        rare = english_words()
        words = [
            rng.choice(self.spoken if self.spoken and rng.random() < 0.65 else rare)
            for _ in range(rng.randint(2, 9))
        ]
        if len(words) > 4 and rng.random() < 0.5:
            words[len(words) // 2] += ","
        return " ".join(words).capitalize() + rng.choice("...?!")


@cache
def english_words() -> list[str]:
    """Words of the dictionary, of middle length."""
    return [w for w in lexicon() if w.isalpha() and 3 <= len(w) <= 9]


@cache
def mandarin_words() -> tuple[list[str], list[float]]:
    """Words of jieba's dictionary, and the roots of their frequencies."""
    lines = Path(jieba.__file__).with_name("dict.txt").read_text(encoding="utf-8").splitlines()
    rows = ((w, int(n)) for w, n, *_ in map(str.split, lines))
    found = [(w, n) for w, n in rows if n >= COMMON and re.fullmatch(r"[\u4e00-\u9fff]{1,4}", w)]
    return [w for w, _ in found], [n**0.5 for _, n in found]


@dataclass(frozen=True)
class Speaker:
    """A timbre, the languages it speaks, its sex; `alone`: an unmixed voice, prosody included."""

    timbre: Mix
    languages: tuple[str, ...]
    sex: str
    alone: bool

    @property
    def name(self) -> str:
        """Equal names are equal timbres."""
        return "+".join(f"{name}:{weight:g}" for name, weight in sorted(self.timbre))


class Voices:
    """Draws speakers and prosodies among the voices, those kept for tests left out."""

    def __init__(self, names: list[str], rng: random.Random, only: Sequence[str] = ()) -> None:
        self.rng = rng
        self.names = sorted(n for n in names if n not in TEST_VOICES)
        self.only = sorted(only)  # unmixed voices, if nobody else is to speak
        if unknown := set(self.only) - set(self.names):
            raise ValueError(f"no such voices: {', '.join(sorted(unknown))}")
        self.native = {x: [n for n in self.names if n[0] in NATIVE[x]] for x in LANGUAGES}
        for language, found in self.native.items():
            if {n[1] for n in found} < {"f", "m"}:
                raise ValueError(f"voices of both sexes are needed in {language}: {found}")

    def mix(self, pool: list[str], count: int) -> Mix:
        """`count` voices (fewer in a small pool) and weights of at least 0.05, which sum to 1."""
        names = self.rng.sample(pool, min(count, len(pool)))
        drawn = [self.rng.gammavariate(1.5, 1) for _ in names]
        drawn = [max(LEAST_WEIGHT, x / sum(drawn)) for x in drawn]
        weights = [round(x / sum(drawn), 3) for x in drawn]
        weights[0] = round(1 - sum(weights[1:]), 3)
        return list(zip(names, weights, strict=True))

    def speaker(self) -> Speaker:
        """A new speaker."""
        rng, kind = self.rng, self.rng.random()
        if self.only:
            voice = rng.choice(self.only)
            tongue = next(x for x in LANGUAGES if voice[0] in NATIVE[x])
            return Speaker([(voice, 1.0)], (tongue,), voice[1], True)
        sex, first = rng.choice("fm"), rng.choice(LANGUAGES)
        if kind < ALONE:  # Mandarin has few voices: each is heard more often
            first = rng.choice(("en", "zh", "zh"))
            voice = rng.choice(self.native[first])
            return Speaker([(voice, 1.0)], (first,), voice[1], True)
        if kind < ALONE + WITHIN:
            pool = [v for v in self.native[first] if v[1] == sex]
            return Speaker(self.mix(pool, 2), (first,), sex, False)
        pool = [v for v in self.names if rng.random() < 0.25 or v[1] == sex]
        languages = LANGUAGES if rng.random() < 0.7 else (first,)
        return Speaker(self.mix(pool, rng.choice((2, 2, 3))), languages, sex, False)

    def prosody(self, speaker: Speaker, language: str) -> Mix:
        """A native manner: one voice or a mix of two, of one accent."""
        if speaker.alone:
            return speaker.timbre
        pool = [v for v in self.native[language] if v[1] == speaker.sex]
        accent = self.rng.choice(NATIVE[language])
        return self.mix([v for v in pool if v[0] == accent] or pool, self.rng.choice((1, 1, 2)))


def draw(voices: Voices, texts: dict[str, Texts], count: int, dev: int, seed: int) -> list[dict]:
    """`count` jobs without phonemes, 6 to 10 a speaker; `dev` of the first tenth are for validation."""
    rng, jobs = voices.rng, []
    while len(jobs) < count:
        speaker = voices.speaker()
        for k in range(rng.choice((6, 8, 10))):
            language = speaker.languages[k % len(speaker.languages)]
            jobs.append(
                {
                    "name": f"generated/{seed}/{len(jobs):06d}",
                    "speaker": speaker.name,
                    "language": language,
                    "text": texts[language].draw(),
                    "style": speaker.timbre,
                    "prosody": voices.prosody(speaker, language),
                    "speed": round(rng.uniform(0.85, 1.15), 2),
                    "split": "train",
                }
            )
    jobs = jobs[:count]
    early = range(max(min(dev, count), count // 10))  # a run that is cut short has them, too
    for place in rng.sample(early, min(dev, count)):
        jobs[place]["split"] = "dev"
    return jobs


@cache
def _pipeline() -> TextPipeline:
    return TextPipeline()


def with_phonemes(job: dict, teacher: Path) -> dict | None:
    """The job with the teacher's symbols and our phonemes; None where a front end refuses the text."""
    accent = "en-gb" if job["prosody"][0][0][0] == "b" else "en-us"
    language = accent if job["language"] == "en" else job["language"]
    try:
        symbols = command.load_symbols(teacher).phonemes(job["text"], language)
        ours = _pipeline()(job["text"], job["language"])
    except (ValueError, LookupError, RuntimeError):
        return None
    if not ours.items or not SYMBOLS[0] <= len(symbols) <= SYMBOLS[1]:
        return None
    items = [(item.symbol, item.language) for item in ours.items]
    return {**job, "symbols": symbols, "ids": [int(i) for i in ours.ids], "items": items}


def tables(teacher: Path, held: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """The teacher's texts by language, without those of its test tables and of `held`."""
    out = {t for path in held for t in read_texts(path)}
    for language in LANGUAGES:
        out.update(read_texts(teacher / f"texts_{language}_test.tsv"))
    for language in LANGUAGES:
        yield language, [t for t in read_texts(teacher / f"texts_{language}.tsv") if t not in out]


def work(args: argparse.Namespace) -> None:
    """Draw, add phonemes, write."""
    command.load_symbols(args.teacher)  # an early error
    if args.count < 1:
        raise ValueError("--count must be positive")
    rng = random.Random(args.seed)
    texts = {x: Texts(x, table, rng) for x, table in tables(args.teacher, args.held)}
    jobs = draw(
        Voices(voice_names(args.model), rng, args.only), texts, args.count, args.dev, args.seed
    )
    refused = 0
    beside = args.out.with_suffix(".part")
    with beside.open("w", encoding="utf-8") as file:
        for job in ahead(partial(with_phonemes, teacher=args.teacher), jobs, args.workers):
            refused += job is None
            if job is not None:
                file.write(json.dumps(job, ensure_ascii=False) + "\n")
    beside.replace(args.out)
    speakers = len({job["speaker"] for job in jobs})
    print(f"{len(jobs) - refused} jobs of {speakers} timbres; {refused} texts refused")


if __name__ == "__main__":
    texts = ROOT / "benchmarks" / "texts"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True, help="symbols.py, texts_*.tsv")
    parser.add_argument("--model", type=Path, required=True, help="folder written by pack.py")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--dev", type=int, default=48, help="clips for validation")
    parser.add_argument("--held", type=Path, nargs="*", help="tables of texts that stay out",
                        default=[texts / f"{x}.tsv" for x in LANGUAGES])  # fmt: skip
    parser.add_argument("--only", nargs="*", default=[], help="these voices alone, unmixed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    command.run(parser, work)
