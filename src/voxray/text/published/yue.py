"""Cantonese: the Mandarin normaliser, then jyutping (package ToJyutping).

In: a `SpanText` as written. Out: `Unit`s a character, two symbols each (`Yg` `Yam1`). The text is
simplified before it is read, as in training, so 隻 is read as 只.
"""

from __future__ import annotations

import re
from functools import cache

from ..controls import Controls
from ..spans import SpanText
from ..symbols import SYMBOLS
from ..units import Sounding, Unit, pause
from . import zh
from .optional import load

_INITIALS = sorted(
    (s[1:] for s in SYMBOLS if s[0] == "Y" and s[1:].isalpha() and s[1:].islower()),
    key=len,
    reverse=True,
)
_TOKEN = re.compile(r"[\u3400-\u9fff〇]+|[,.!?…\ue000\ue001^]")
normalise = zh.normalise


@cache
def symbols(syllable: str) -> tuple[str, str]:
    """`gam1` -> (`Yg`, `Yam1`).

    A syllable without an initial (`uk1`, `aa3`, `m4`) takes as much of its beginning as the table has
    a symbol for, and its last letter is said again if nothing is left.
    """
    initial = next((i for i in _INITIALS if syllable.startswith(i)), "")
    rest = syllable[len(initial) :]
    if rest.isdigit() and initial:
        rest = initial[-1] + rest
    return "Y" + initial, "Y" + rest


def convert(text: SpanText, fixed: Controls) -> list[Unit]:
    """Characters and pauses of a stretch."""
    reader = load("ToJyutping", "Cantonese")
    units: list[Unit] = []
    for match in _TOKEN.finditer(text.text):
        part = text[match.start() : match.end()]
        if match[0] in ",.!?…\ue000\ue001^":
            units.append(pause(match[0], *part.span(0, 1), "yue", fixed))
            continue
        for i, (char, syllable) in enumerate(reader.get_jyutping_list(match[0])):
            pair = symbols(syllable) if syllable else ("UNK", "UNK")
            span = part.spans[i]
            sounds = tuple(Sounding(symbol, *span) for symbol in pair)
            units.append(Unit(char, *span, "yue", sounds))
    return zh.pauses(units, "yue")
