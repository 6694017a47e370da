"""Manifests in, `Clip` records out: which recordings may be trained on, and what is known of each.

Two layouts are read, both tab-separated with a header: people (`path corpus speaker language text
split use ...`) and the teacher (`path split text language voice phonemes durations ...`); and the
published trainers' `.list` files (`listing`).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .listing import Line, read_list

TEACHER_LEAD_SECONDS = (
    0.045  # the teacher's sound runs this far ahead of its durations (its README)
)


@dataclass(frozen=True)
class Clip:
    """One recording. `band_hz` is the highest frequency it holds; `phones` are the teacher's."""

    path: Path
    name: str
    speaker: str
    language: str
    text: str
    split: str
    band_hz: int
    synthetic: bool
    phones: str = ""
    durations: tuple[float, ...] = ()


def read_manifest(path: Path) -> list[Clip]:
    """All clips of a manifest; ValueError names the file if its columns are of neither layout."""
    if path.suffix == ".list":
        return [_listed(path.parent, line) for line in read_list(path)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        raise ValueError(f"{path} lists no clips")
    if {"voice", "durations", "phonemes"} <= rows[0].keys():
        return list(_teacher(path.parent, rows))
    if {"speaker", "text", "split"} <= rows[0].keys():
        return list(_people(path.parent, rows))
    raise ValueError(
        f"{path}: unknown columns {', '.join(rows[0])}; need path, speaker, text, split, language"
    )


def listed(clips: Iterable[Clip], folder: Path) -> Iterator[Line]:
    """The clips as lines of a `.list` file that lies in `folder`: paths from there, languages in capitals."""
    for clip in clips:
        path = Path(os.path.relpath(clip.path, folder)).as_posix()
        yield Line(path, clip.speaker.strip("/"), clip.language.upper(), clip.text)


def _listed(root: Path, line: Line) -> Clip:
    return Clip(
        path=root / line.path,
        name=line.path,
        speaker=line.speaker,
        language=line.language,
        text=line.text,
        split="train",
        band_hz=12_000,
        synthetic=False,
    )


def _teacher(root: Path, rows: list[dict[str, str]]) -> Iterator[Clip]:
    for row in rows:
        yield Clip(
            path=root / row["path"],
            name=row["path"],
            speaker="teacher/" + row["voice"],
            language=row["language"][:2],
            text=row["text"],
            split=row["split"],
            band_hz=12_000,
            synthetic=True,
            phones=row["phonemes"],
            durations=tuple(float(d) for d in row["durations"].split()),
        )


def _people(root: Path, rows: list[dict[str, str]]) -> Iterator[Clip]:
    for row in rows:
        split = row["split"] if row.get("use", "train") == "train" else "eval"
        yield Clip(
            path=root / row["path"],
            name=row["path"],
            speaker=f"{row.get('corpus', '')}/{row['speaker']}",
            language=row.get("language", "en"),
            text=row["text"],
            split=split,
            band_hz=min(12_000, int(row.get("source_rate_hz") or 16_000) // 2),
            synthetic=False,
        )
