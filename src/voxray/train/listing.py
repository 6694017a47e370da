"""`.list` files of the published trainers: one clip a line, `path|speaker|language|text`.

`read_list` keeps every field as it stands, so that `write_list` gives the same file back; `language` of a
line is read through `LANGUAGES`. A path may be absolute or relative to the list. Text may hold no
line break, the other fields no `|`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

LANGUAGES = {"zh": "zh", "ja": "ja", "jp": "ja", "en": "en", "ko": "ko", "yue": "yue"}


@dataclass(frozen=True)
class Line:
    """One clip as the list names it."""

    path: str
    speaker: str
    spelled_language: str
    text: str

    @property
    def language(self) -> str:
        """zh, ja, en, ko or yue."""
        return LANGUAGES[self.spelled_language.lower()]


def read_list(path: Path) -> list[Line]:
    """All lines; ValueError names the first that is no clip."""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        fields = text.split("|", 3)
        if len(fields) != 4:
            raise ValueError(
                f"{path}:{number} has {len(fields)} of 4 fields: path|speaker|language|text"
            )
        line = Line(*fields)
        if line.spelled_language.lower() not in LANGUAGES:
            known = ", ".join(sorted(set(LANGUAGES.values())))
            raise ValueError(f"{path}:{number}: language {line.spelled_language!r}; known: {known}")
        lines.append(line)
    if not lines:
        raise ValueError(f"{path} lists no clips")
    return lines


def write_list(path: Path, lines: Iterable[Line]) -> None:
    """Write the list whole or not at all; ValueError where a field would break its line."""
    rows: list[str] = []
    for line in lines:
        fields = astuple(line)
        if any("|" in field for field in fields[:3]) or any(
            len(f.splitlines()) > 1 for f in fields
        ):
            raise ValueError(
                f"{line.path!r} cannot stand in a list: a field holds | or a line break"
            )
        rows.append("|".join(fields) + "\n")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        beside.write_text("".join(rows), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
