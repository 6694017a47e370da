"""English as the published models read it.

In: a `SpanText` as written. Out: `Unit`s, one a word or mark. Capitals are spelled, times always
say a.m. or p.m., abbreviations are not opened, numbers have commas between their groups, and a
text of fewer than four phones gets a comma before it.
"""

from __future__ import annotations

import re

from .. import english, homographs, numbers_en
from ..amounts_en import MONEY, UNITS, many, money
from ..controls import Controls
from ..lexicon import Lexicon
from ..punctuation import clean
from ..rules import Rule, apply, rule
from ..spans import SpanText
from ..units import Sounding, Unit
from .guess import guess

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_SHORT = 4
_ONE_READING = frozenset("live lives wind tear lead bow bass used does dove wound minute".split())
_SPELLED = 3
_UNLISTED = frozenset(
    "brr ew hmm kubernetes psst shh thirty-four ugh xi'an zzz".split()
)  # our own additions
_LISTED = {"t-shirt": "T IY1 S ER2 T", "ve": "V IY1"}
_DROPPED = dict.fromkeys("，、；：・()（）[]［］{}【】", " ")


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    half = "a.m." if hour < 12 else "p.m."
    hour = hour if hour <= 12 else hour - 12
    if not minute:
        return f"{numbers_en.cardinal(hour)} o'clock {half}"
    gap = "oh " if minute < 10 else ""
    return f"{numbers_en.cardinal(hour)} {gap}{numbers_en.cardinal(minute)} {half}"


def _unit(match: re.Match[str]) -> str:
    unit = UNITS[match[2]]
    return f"{numbers_en.cardinal(int(match[1]), comma=True)} {many(match[1], unit)}"


def _number(match: re.Match[str]) -> str:
    text = match[0]
    if text.isdigit() and 1000 < int(text) < 3000:
        words = numbers_en.pairs(int(text))
    else:
        words = numbers_en.decimal(text, comma=True)
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    words = f" {words}" if before.isalpha() else words
    return f"{words} " if after.isalpha() or after == "^" else words


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    return numbers_en.fraction(above, below).replace("quarter", "fourth")


_SIGNS = "".join(re.escape(sign) for sign in MONEY)
_RULES: tuple[Rule, ...] = (
    rule(r"\b(\d{1,2}):([0-5]\d)\b", _time),
    rule(rf"(?P<sign>[{_SIGNS}])(?P<amount>{_NUMBER})(?P<scale>)", lambda m: money(m, comma=True)),
    rule(r"(?<![\d.])(\d+)(km|kg|g|cm|mm|min|h|s|ml|MB|GB)\b", _unit),
    rule(rf"({_NUMBER})%", lambda m: f"{numbers_en.decimal(m[1], comma=True)} percent"),
    rule(r"\b(\d+)(?:st|nd|rd|th)\b", lambda m: numbers_en.ordinal(int(m[1]))),
    rule(r"\b(\d+)/(\d+)\b", _fraction),
    rule(_NUMBER, _number),
    rule(r"(?<=[A-Za-z]{2})\.(?=[A-Za-z]{2})", " "),
    rule(r"(?<!^)(?<!\s)([A-Z])", r" \1"),
    rule(r"(?<=[a-z])'(?=\s)", " - "),
    rule(r"[^ A-Za-z'.,?!…\ue000-]", " "),
)


def normalise(text: SpanText) -> SpanText:
    """Letters, apostrophes, spaces and `, . ! ? - …` only, numbers in words."""
    return apply(_RULES, clean(text.translate(_DROPPED)))


def pronounce(word: str, text: str, start: int, lexicon: Lexicon) -> tuple[str, ...]:
    """ARPAbet of the word at `text[start:]`; the user's lexicon first."""
    own = lexicon.pronounce(word)
    if own or word == "A":
        return own or ("EY1",)
    low = word.lower()
    context = text[max(0, start - 200) : start], text[start + len(word) :][:200]
    found = None if low in _ONE_READING else homographs.resolve(low, *context)
    return found or _listed(low)


def _listed(word: str) -> tuple[str, ...]:
    if word in _LISTED:
        return tuple(_LISTED[word].split())
    head, mark, tail = word.rpartition("'")
    if mark and "'" in head:  # I'd've: the apostrophes are ignored
        return _listed(head.replace("'", "")) + _listed(tail)
    bare = word.strip("'")
    letters = word.replace("'", "")
    if word in _UNLISTED and len(letters) <= _SPELLED:
        return english.spell(letters)
    if word not in _UNLISTED and (
        english.known(word)
        or english.known(bare)
        or bare.endswith("'s")
        or len(letters) <= _SPELLED
        or ("'" not in bare and english._compound(letters))
    ):
        return english.pronounce(word, _SPELLED, False)
    return guess(bare) or english.pronounce(letters, _SPELLED, False)


def convert(text: SpanText, fixed: Controls, lexicon: Lexicon) -> list[Unit]:
    """Words and pauses of a stretch."""
    units = english.convert(text, fixed, lambda w, t, s: pronounce(w, t, s, lexicon))
    kept: list[Unit] = []
    for unit in units:
        if unit.is_word or not kept or kept[-1].is_word or unit.pause_ms is not None:
            kept.append(unit)
    if kept and sum(len(unit.sounds) for unit in kept) < _SHORT:
        start = kept[0].start
        kept.insert(0, Unit(",", start, start, "en", (Sounding(",", start, start),), is_word=False))
    return kept
