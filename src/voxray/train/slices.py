"""A person's recordings -> slices to learn from: cut at pauses, each with its text.

In: a file or folder of audio, and transcripts if there are any (`.list`, `.tsv` of file and text, or a
`.txt` with what the one recording says). Out: `Slice`s of at most 12 s. A recording that had to be cut
gets its text shared out over the pieces by what a recogniser hears in them; without texts the recogniser
writes them. Zero-length, silent and unreadable files are named in `problems`, and nothing is lost by them.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray import audio

from .listing import read_list

Wave = NDArray[np.float32]
Transcribe = Callable[[list[Wave], str], list[str]]  # waves at 16 kHz, language -> texts
SHORTEST, IDEAL, LONGEST = 1.0, 6.0, 12.0  # seconds of a slice
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
HEARD_RATE = 16_000
HAN = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Slice:
    """A stretch of a recording, with what is said in it. `given`: the text is the user's own."""

    name: str
    source: Path
    begin: float
    wave: Wave
    rate: int
    text: str = ""
    given: bool = False
    heard: str = ""  # by the recogniser, if one listened

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.wave) / self.rate

    @property
    def language(self) -> str:
        """zh where the text holds Han characters, else en."""
        return "zh" if HAN.search(self.text) else "en"

    def at(self, rate: int) -> Wave:
        """The wave at another rate."""
        return audio.resample(self.wave, self.rate, rate)


@dataclass
class Harvest:
    """What a folder gave, and what was wrong with the rest of it."""

    slices: list[Slice] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def recordings(path: Path) -> list[Path]:
    """The audio files of a folder, or the one file."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no such file or folder: {path}")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ValueError(f"{path} holds no audio ({', '.join(SUFFIXES)})")
    return found


def read_transcripts(path: Path | None, files: Sequence[Path]) -> dict[str, str]:
    """Text by file name (without its ending) or by slice, `name@milliseconds`, as `clips.tsv` names it."""
    if path is None:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"no such transcripts: {path}")
    if path.suffix == ".list":
        made = {Path(line.path).stem: line.text for line in read_list(path)}
    elif path.suffix == ".txt":
        if len(files) != 1:
            raise ValueError(
                f"{path} is one text, but there are {len(files)} recordings: give .tsv"
            )
        made = {files[0].stem: path.read_text(encoding="utf-8-sig").strip()}
    else:
        made = dict(_pairs(path))
    known = {file.stem for file in files}
    unknown = sorted(
        name for name in made if name.rpartition("@")[0] not in known and name not in known
    )
    if len(unknown) == len(made):
        raise ValueError(f"{path} names none of the recordings; its first is {unknown[0]!r}")
    return made


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    head = [cell.lower() for cell in rows[0]] if rows else []
    named = {"path", "text"} <= set(head)
    name, text = (head.index("path"), head.index("text")) if named else (0, -1)
    for number, row in enumerate(rows[named:], start=1 + named):
        if not row or not row[0].strip():
            continue
        if len(row) < 2:
            raise ValueError(f"{path}:{number} has no text behind a tab")
        yield Path(row[name].strip()).stem, row[text].strip()


def pauses(wave: Wave, rate: int) -> NDArray[np.int64]:
    """Samples in the middle of pauses of 0.15 s or more."""
    hop = max(1, rate // 50)
    frames = wave[: len(wave) // hop * hop].reshape(-1, hop)
    level = 10 * np.log10(np.square(frames, dtype=np.float64).mean(1) + 1e-10)
    loud, floor = np.quantile(level, [0.95, 0.05])
    quiet = level < max(floor + 0.3 * (loud - floor), loud - 40.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    spans = edges.reshape(-1, 2)
    spans = spans[(spans[:, 1] - spans[:, 0]) * hop >= 0.15 * rate]
    return (spans.sum(1) // 2 * hop).astype(np.int64)


def cut(wave: Wave, rate: int, ideal: float = IDEAL, longest: float = LONGEST) -> list[slice]:
    """Spans of at most `longest` seconds, cut at pauses, about `ideal` long; hard cuts are the last resort."""
    if len(wave) <= longest * rate:
        return [slice(0, len(wave))]
    places, made, start = pauses(wave, rate), [], 0
    while len(wave) - start > longest * rate:
        inside = places[(places > start + SHORTEST * rate) & (places <= start + longest * rate)]
        if len(inside):
            end = int(inside[np.abs(inside - start - ideal * rate).argmin()])
        else:
            end = start + round(longest * rate)
        made.append(slice(start, end))
        start = end
    made.append(slice(start, len(wave)))
    return made


def harvest(
    path: Path,
    transcripts: Path | None = None,
    transcribe: Transcribe | None = None,
    language: str = "en",
) -> Harvest:
    """Slices with texts from a file or folder; ValueError where there is nothing to learn from."""
    files = recordings(path)
    texts = read_transcripts(transcripts, files)
    made = Harvest()
    for file in files:
        try:
            made.slices += _from_file(file, texts, transcribe, language)
        except (ValueError, OSError) as error:
            made.problems.append(" ".join(str(error).split()))
    if not made.slices:
        first = made.problems[0] if made.problems else f"{path} holds no speech"
        raise ValueError(f"nothing to learn from: {first}")
    return made


def _from_file(
    file: Path, texts: dict[str, str], transcribe: Transcribe | None, language: str
) -> list[Slice]:
    text = texts.get(file.stem, "")
    wave, rate = audio.read_audio(file)
    if len(wave) < SHORTEST * rate:
        raise ValueError(f"{file.name} is {len(wave) / rate:.2f} s; {SHORTEST:.0f} s is the least")
    if audio.rms_db(wave) < -70.0:
        raise ValueError(f"{file.name} is silent")
    pieces: list[Slice] = []
    for span in cut(wave, rate):
        part = audio.trim_silence(wave[span], rate)
        if len(part) >= SHORTEST * rate:
            name = f"{file.stem}@{round(1000 * span.start / rate)}"
            pieces.append(Slice(name, file, span.start / rate, part, rate))
    if not pieces:
        raise ValueError(f"{file.name} holds no stretch of {SHORTEST:.0f} s with sound")
    if transcribe is not None:
        tongue = ("zh" if HAN.search(text) else "en") if text else language
        heard = transcribe([piece.at(HEARD_RATE) for piece in pieces], tongue)
        pieces = [replace(p, heard=said) for p, said in zip(pieces, heard, strict=True)]
    read = [p for p in pieces if p.name in texts]  # corrected by hand
    if read:
        return [replace(p, text=texts[p.name], given=True) for p in read if texts[p.name]]
    return _with_texts(file, pieces, text)


def _with_texts(file: Path, pieces: list[Slice], text: str) -> list[Slice]:
    if text and len(pieces) == 1:
        return [replace(pieces[0], text=text, given=True)]
    if text and not any(piece.heard for piece in pieces):
        raise ValueError(
            f"{file.name} had to be cut into {len(pieces)} pieces; to share its text out over them "
            "a recogniser is needed: python -m voxray.evaluate.fetch, or cut it yourself"
        )
    if text:
        parts = share_out(text, [piece.heard for piece in pieces])
        pieces = [replace(p, text=t, given=True) for p, t in zip(pieces, parts, strict=True)]
    else:
        pieces = [replace(p, text=p.heard) for p in pieces]
    spoken = [piece for piece in pieces if piece.text]
    if not spoken:
        raise ValueError(
            f"{file.name} has no transcript; give --transcripts, or fetch a recogniser: "
            "python -m voxray.evaluate.fetch"
        )
    return spoken


def share_out(text: str, heard: Sequence[str]) -> list[str]:
    """Cut a text into as many parts as there are pieces, where the recogniser's words say so.

    Words the recogniser missed go with the word before them, so that none is lost.
    """
    words = list(WORD.finditer(text))
    ours = [word[0].lower() for word in words]
    theirs = [(w.lower(), n) for n, said in enumerate(heard) for w in WORD.findall(said)]
    matcher = difflib.SequenceMatcher(None, ours, [w for w, _ in theirs], autojunk=False)
    owner = [-1] * len(words)
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            owner[block.a + k] = theirs[block.b + k][1]
    last, parts = 0, [[len(text), 0] for _ in heard]
    for word, number in zip(words, owner, strict=True):
        last = max(last, number)
        parts[last][0] = min(parts[last][0], word.start())
    starts = [begin for begin, _ in parts] + [len(text)]
    for place in reversed(range(len(heard))):  # a piece without words is empty
        starts[place] = min(starts[place], starts[place + 1])
    if heard and words:
        starts[0] = 0
    return [text[starts[n] : starts[n + 1]].strip() for n in range(len(heard))]
