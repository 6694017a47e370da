"""Evaluation sets in the list format of Seed-TTS-eval: one item a line, fields parted by `|`.

    id|what the prompt says|prompt.wav|what is to be said[|recording of it]

Paths are taken from the list's folder. The language is the text's own (by script). In: a list file.
Out: `Item`s; what is wrong with a line is said with its number. `write_items` gives the format back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .normalise import HAN

SAFE = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class Item:
    """Something to be said in the voice of `prompt`; `truth` is a recording of it, if there is one."""

    id: str
    prompt_text: str
    prompt: Path
    text: str
    truth: Path | None = None

    @property
    def language(self) -> str:
        """zh where the text holds Han characters, else en."""
        return "zh" if HAN.search(self.text) else "en"


def read_items(path: Path) -> list[Item]:
    """All items of a list; ValueError names the first line that is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no such list: {path}")
    items: list[Item] = []
    known: set[str] = set()
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        item = _item(path, number, line)
        if item.id in known:
            raise ValueError(f"{path}:{number}: the id {item.id!r} stands there twice")
        known.add(item.id)
        items.append(item)
    if not items:
        raise ValueError(f"{path} lists nothing")
    return items


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text") from error


def _item(path: Path, number: int, line: str) -> Item:
    fields = [field.strip() for field in line.split("|")]
    where = f"{path}:{number}"
    if len(fields) not in (4, 5):
        raise ValueError(
            f"{where} has {len(fields)} fields; 4 or 5 make an item: "
            "id|prompt text|prompt file|text[|recording of the text]"
        )
    name, prompt_text, prompt, text = fields[:4]
    if not SAFE.fullmatch(name):
        raise ValueError(f"{where}: the id {name!r} may hold letters, digits, . _ and - only")
    if not text:
        raise ValueError(f"{where}: nothing to say")
    truth = path.parent / fields[4] if fields[4:] and fields[4] else None
    item = Item(name, prompt_text, path.parent / prompt, text, truth)
    for file in (item.prompt, *([truth] if truth else [])):
        if not file.is_file():
            raise FileNotFoundError(f"{where}: no such recording: {file}")
    return item


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write a list whole or not at all; paths are written as the items hold them."""
    rows = []
    for item in items:
        fields = [item.id, item.prompt_text, str(item.prompt), item.text]
        fields += [str(item.truth)] if item.truth else []
        if any("|" in field or len(field.splitlines()) > 1 for field in fields):
            raise ValueError(f"{item.id!r} cannot stand in a list: a field holds | or a line break")
        rows.append("|".join(fields) + "\n")
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text("".join(rows), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
