"""Pinyin syllables to the models' symbols: always two, an initial and a toned final.

A syllable without an initial gets one named after its vowel (`AA`, `EE`, `OO`) or its glide (`y`,
`w`); the apical vowels of zhi and zi have finals of their own (`ir`, `i0`); yan and ye open to
`En` and `E`. `ju`, `qu`, `xu`, `yu` hold `v` (ü).
"""

from __future__ import annotations

import re
from functools import cache

from .symbols import SYMBOL_TO_ID

_SYLLABLE = re.compile(r"([a-zêü:]+?)([1-5])?")
_INITIALS = "zh ch sh b p m f d t n l g k h j q x r z c s y w".split()
_AFTER_Y = {"i": "i", "a": "a", "e": "E", "ao": "ao", "ou": "ou", "an": "En", "in": "in",
            "ang": "ang", "ing": "ing", "ong": "ong", "o": "o", "ai": "ai",
            "u": "v", "ue": "ve", "uan": "van", "un": "vn"}  # fmt: skip
_FRONT_ROUND = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}
_INTERJECTIONS = {"n": "en", "ng": "en", "m": "mu", "hm": "hen", "hng": "heng", "ê": "ei"}


@cache
def symbols(syllable: str) -> tuple[str, str]:
    """`zhong1` -> (`zh`, `ong1`); a missing tone is neutral (5). ValueError if it is not pinyin."""
    match = _SYLLABLE.fullmatch(syllable.lower())
    if not match:
        raise ValueError(f"{syllable!r} is not a pinyin syllable with a tone, such as liang2")
    base, tone = match[1].replace("u:", "v").replace("ü", "v"), match[2] or "5"
    initial, final = _split(_INTERJECTIONS.get(base, base))
    return initial, final + tone


def exists(syllable: str) -> bool:
    """Whether it is a pinyin syllable with a tone that the symbol table can write."""
    if not syllable[-1:].isdigit():
        return False
    try:
        return all(symbol in SYMBOL_TO_ID for symbol in symbols(syllable))
    except ValueError:
        return False


def _split(base: str) -> tuple[str, str]:
    initial = next((i for i in _INITIALS if base.startswith(i)), "")
    final = base[len(initial) :]
    if not initial:
        return {"a": "AA", "e": "EE", "o": "OO"}.get(base[0], "EE"), base
    if initial == "y":
        return "y", _AFTER_Y.get(final, final)
    if initial in "jqx":
        return initial, _FRONT_ROUND.get(final, final)
    if final == "i" and initial in ("zh", "ch", "sh", "r"):
        return initial, "ir"
    if final == "i" and initial in ("z", "c", "s"):
        return initial, "i0"
    return initial, final
