"""Long text cut into pieces, by the six methods that users of the published models know.

`cut(text, "cut5")` gives the lines of one method; `prepare` the pieces that are spoken one after
another: cut, short pieces merged, a full stop where none stands, very long pieces split.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Method = Literal["cut0", "cut1", "cut2", "cut3", "cut4", "cut5"]
METHODS = get_args(Method)
LONGEST = 510
_ENDS = "，。？！,.?!~:：—…"
_CLOSING = ",.;?!、，。？！；：…"
_ASCII_MARKS = frozenset("!?…,.- ")
_REPEATED = re.compile(r"([!?…,.\-])[!?…,.\-]+")
_PIECE = re.compile(f"[^{_ENDS}]*[{_ENDS}]|[^{_ENDS}]+$")
_FIRST_SHORT, _SHORTEST, _TARGET, _GROUP = 4, 5, 50, 4


def cut(text: str, method: str) -> str:
    """The text with a line break wherever `method` cuts.

    `cut0` nowhere, `cut1` after every four clauses, `cut2` after about 50 characters, `cut3` at `。`,
    `cut4` at `.` unless a digit stands beside it, `cut5` at every mark.
    """
    if method not in METHODS:
        raise ValueError(f"cut method is {method!r}; choose one of {', '.join(METHODS)}")
    if method == "cut0":
        return text
    stripped = text.strip("\n")
    lines = {
        "cut1": _by_clauses,
        "cut2": _by_length,
        "cut3": lambda t: t.strip("。").split("。"),
        "cut4": lambda t: re.split(r"(?<!\d)\.(?!\d)", t.strip(".")),
        "cut5": _by_marks,
    }[method](stripped)
    silent = frozenset(_CLOSING) if method == "cut5" else _ASCII_MARKS
    short = method == "cut2" and len(lines) == 1
    return "\n".join(line for line in lines if short or not set(line) <= silent)


def prepare(text: str, method: str = "cut5", language: str = "zh") -> list[str]:
    """The pieces to speak; ValueError if there is nothing to say at all."""
    stop = "." if language == "en" else "。"
    text = _REPEATED.sub(r"\1", text.strip("\n"))
    if not text:
        return []
    first = re.split(f"[{_ENDS}]", text, maxsplit=1)[0].strip()
    if text[0] not in _ENDS and len(first) < _FIRST_SHORT:
        text = stop + text
    lines = [line for line in cut(text, method).split("\n") if line.strip()]
    if not lines or (method == "cut0" and set(text) <= _ASCII_MARKS):
        raise ValueError("there is nothing to say in the text: enter valid text")
    pieces: list[str] = []
    for line in _merged(lines):
        if re.search(r"\w", line):
            ended = line if line[-1] in _ENDS else line + stop
            pieces.extend(split_long(ended) if len(ended) > LONGEST else [ended])
    return pieces


def split_long(text: str, longest: int = LONGEST) -> list[str]:
    """Cut between clauses so that no piece is longer; a clause that is longer stays whole."""
    pieces: list[str] = []
    current = ""
    for part in re.split(f"([{_ENDS}])", text):
        if len(current) + len(part) > longest:
            pieces.append(current)
            current = part
        else:
            current += part
    return [*pieces, current] if current else pieces


def _clauses(text: str) -> list[str]:
    """Clauses with their closing mark; the last gets one if it has none."""
    text = text.replace("……", "。").replace("——", "，")
    return _PIECE.findall(text if text[-1:] in _ENDS and text else text + "。")


def _by_clauses(text: str) -> list[str]:
    clauses = _clauses(text)
    if len(clauses) <= _GROUP:
        return [text]
    starts = list(range(0, len(clauses), _GROUP))
    ends = [*starts[1:-1], len(clauses)]  # the last group joins the one before it
    return ["".join(clauses[start:end]) for start, end in zip(starts, ends, strict=False)]


def _by_length(text: str) -> list[str]:
    clauses = _clauses(text)
    if len(clauses) < 2:
        return [text]
    lines = [""]
    for clause in clauses:
        if len(lines[-1]) > _TARGET:
            lines.append("")
        lines[-1] += clause
    if len(lines) > 1 and len(lines[-1]) < _TARGET:
        lines[-2:] = [lines[-2] + lines[-1]]
    return lines


def _by_marks(text: str) -> list[str]:
    lines = [""]
    for i, char in enumerate(text):
        lines[-1] += char
        decimal = char == "." and text[i - 1 : i].isdigit() and text[i + 1 : i + 2].isdigit()
        if char in _CLOSING.replace("；", "") and not decimal:
            lines.append("")
    return lines


def _merged(lines: list[str]) -> list[str]:
    """Lines of fewer than five characters go with what follows, at the end with what is before."""
    merged: list[str] = []
    waiting = ""
    for line in lines:
        waiting += line
        if len(waiting) >= _SHORTEST:
            merged.append(waiting)
            waiting = ""
    if waiting and merged:
        merged[-1] += waiting
    elif waiting:
        merged.append(waiting)
    return merged
