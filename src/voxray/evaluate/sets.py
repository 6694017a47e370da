"""What is said and whose voice: texts, clips of real people, references with their impostors.

A texts file is TSV with the columns id, text, language and, if wanted, kind (short, sentence, long,
paragraph, hard). A folder of references holds `manifest.tsv` with the columns path, corpus,
speaker, sex, language, duration_s, text, text_source, split; others are ignored.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from .. import audio

RATE = 16_000
KINDS = ("short", "sentence", "long", "paragraph", "hard")
SHORTEST_CLIP, LONGEST_REFERENCE = 2.5, 12.0  # seconds
SHORTEST_HALVED = 3.4  # a single clip this long gives two halves
OWN_CLIPS = 3  # of a speaker, besides the reference
FEMALE_HZ = 165.0  # a median F0 above it is taken for a woman's where the sex is not given


@dataclass(frozen=True)
class Line:
    """A text to be said."""

    id: str
    text: str
    language: str
    kind: str = "sentence"


@dataclass(frozen=True)
class Clip:
    """A recording, or the part [begin, end) seconds of it."""

    path: Path
    corpus: str
    speaker: str
    language: str
    seconds: float
    sex: str = ""
    text: str = ""
    text_source: str = ""
    split: str = ""
    begin: float = 0.0
    end: float | None = None

    @property
    def key(self) -> str:
        """Names the clip in caches."""
        return f"{self.path}@{self.begin:.3f}-{self.end or self.seconds:.3f}"

    def wave(self) -> NDArray[np.float32]:
        """The recording [N] at 16 kHz."""
        samples, rate = audio.read_audio(self.path)
        end = None if self.end is None else round(self.end * rate)
        return audio.resample(samples[round(self.begin * rate) : end], rate, RATE)

    def file(self, folder: Path) -> Path:
        """A path that holds just this part: the recording itself, or a copy in `folder`."""
        if self.begin == 0.0 and self.end is None:
            return self.path
        path = folder / f"{self.corpus}-{self.speaker}-{self.path.stem}-{self.begin:.2f}.wav"
        if not path.exists():
            soundfile.write(path, self.wave(), RATE)
        return path


@dataclass(frozen=True)
class Reference:
    """An unseen speaker: the clip that is cloned, and other clips to compare with."""

    corpus: str
    speaker: str
    language: str
    sex: str
    clip: Clip
    own: tuple[Clip, ...]

    @property
    def name(self) -> str:
        """Unique among references."""
        return f"{self.corpus}/{self.speaker}"


def read_texts(path: Path) -> list[Line]:
    """Lines of a texts file."""
    lines = []
    for number, row in enumerate(_rows(path, ("text", "language")), start=1):
        kind = row.get("kind") or "sentence"
        language = row["language"].split("-")[0]
        if kind not in KINDS or language not in ("en", "zh"):
            raise ValueError(f"{path}, text {number}: kind {kind!r}, language {row['language']!r}")
        lines.append(Line(row.get("id") or f"{path.stem}{number:04d}", row["text"], language, kind))
    return lines


def read_clips(folder: Path) -> list[Clip]:
    """Clips of a folder with a manifest as in `speech/`."""
    return [
        Clip(
            path=folder / row["path"],
            corpus=row.get("corpus") or folder.name,
            speaker=row["speaker"],
            language=row["language"].split("-")[0],
            seconds=float(row["duration_s"]),
            sex=row.get("sex") or "",
            text=row.get("text") or "",
            text_source=row.get("text_source") or "",
            split=row.get("split") or "",
        )
        for row in _rows(folder / "manifest.tsv", ("path", "speaker", "language", "duration_s"))
    ]


def noise_levels(folder: Path) -> dict[Path, float]:
    """Signal to noise in dB by path, of a folder whose manifest tells it."""
    rows = _rows(folder / "manifest.tsv", ("path",))
    return {folder / r["path"]: float(r["snr_db"]) for r in rows if r.get("snr_db")}


def read_teacher(folder: Path) -> list[Clip]:
    """Clips of a folder with a manifest as in `teacher/speech/`; the voice is the speaker."""
    return [
        Clip(
            path=folder / row["path"],
            corpus="teacher",
            speaker=row["voice"],
            language=row["language"].split("-")[0],
            seconds=float(row["duration"]),
            sex=row["voice"][1] if row["voice"][1:2] in ("f", "m") else "",
            text=row["text"],
            text_source="human",
            split=row["split"],
        )
        for row in _rows(
            folder / "manifest.tsv", ("path", "voice", "language", "duration", "split")
        )
    ]


def _rows(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        lacking = [name for name in needed if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path} lacks the columns {', '.join(lacking)}")
        yield from reader


def references(clips: Iterable[Clip], language: str, split: str = "") -> list[Reference]:
    """One reference a speaker of `language` (in `split`, if given): speakers with many clips first.

    The reference is the longest clip up to 12 s; a speaker with a single clip gives its two halves.
    """
    speakers: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        long_enough = clip.seconds >= SHORTEST_CLIP
        if clip.language == language and long_enough and split in ("", clip.split):
            speakers[clip.corpus, clip.speaker].append(clip)
    made = [reference for own in speakers.values() if (reference := _reference(own))]
    return sorted(made, key=lambda reference: (-len(reference.own), reference.name))


def _reference(clips: list[Clip]) -> Reference | None:
    fitting = [clip for clip in clips if clip.seconds <= LONGEST_REFERENCE] or clips
    chosen = max(fitting, key=lambda clip: (clip.seconds, str(clip.path)))
    others = [clip for clip in clips if clip is not chosen]
    if not others:
        if chosen.seconds < SHORTEST_HALVED:
            return None
        middle = chosen.seconds / 2
        others = [replace(chosen, begin=middle, end=chosen.seconds)]
        chosen = replace(chosen, end=middle)
    others = sorted(others, key=lambda clip: -clip.seconds)[:OWN_CLIPS]
    return Reference(
        chosen.corpus, chosen.speaker, chosen.language, chosen.sex, chosen, tuple(others)
    )


def with_sex(reference: Reference) -> Reference:
    """The same with its sex, guessed from the pitch where it is not given."""
    if reference.sex in ("f", "m"):
        return reference
    pitch = audio.f0(reference.clip.wave(), RATE, 0.01)
    voiced = pitch[pitch > 0]
    sex = "f" if len(voiced) and float(np.median(voiced)) > FEMALE_HZ else "m"
    return replace(reference, sex=sex)


def impostors(reference: Reference, pool: Sequence[Reference], most: int = 10) -> list[Reference]:
    """Others of the same sex and language; those of the same corpus where there are three."""
    others = [
        other
        for other in pool
        if other.name != reference.name
        and (other.sex, other.language) == (reference.sex, reference.language)
    ]
    near = [other for other in others if other.corpus == reference.corpus]
    return (near if len(near) >= 3 else others)[:most]


def line_up(reference: Reference, pool: Sequence[Reference], size: int = 20) -> list[Reference]:
    """The speaker first, then others of the language (its own corpus first), `size` in all."""
    others = [
        other
        for other in pool
        if other.name != reference.name and other.language == reference.language
    ]
    others.sort(key=lambda other: other.corpus != reference.corpus)
    return [reference, *others[: size - 1]]


def pick(lines: Sequence[Line], counts: dict[str, int]) -> list[Line]:
    """The first lines of each kind, as many as `counts` says, evenly spread over the list."""
    chosen: list[Line] = []
    for kind, count in counts.items():
        of_kind = [line for line in lines if line.kind == kind]
        if of_kind and count:
            places = np.unique(np.linspace(0, len(of_kind) - 1, min(count, len(of_kind))).round())
            chosen += [of_kind[int(place)] for place in places]
    return chosen
