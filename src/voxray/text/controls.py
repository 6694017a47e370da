"""Inline control: readings and pauses written by the user between square brackets.

`重[chong2]庆`, `重庆[chong2 qing4]` give the characters before the bracket a reading in pinyin;
`read[R EH1 D]` gives the word before it one in ARPAbet; `[300ms]` or `[0.5s]` is a pause. Anything
else in brackets is text. The bracket must touch what it is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import pinyin
from .inventory import ENGLISH_VOICED, ENGLISH_VOICELESS, ENGLISH_VOWELS
from .punctuation import is_han
from .spans import SpanText, join

_BRACKET = re.compile(r"\[([^\[\]\n]{1,200})\]")
_PAUSE = re.compile(r"\s*(?:pause\s+)?(\d{1,5}(?:\.\d+)?)\s*(ms|s)\s*", re.IGNORECASE)
_PINYIN = re.compile(r"\s*[a-zêü:]+\d(?:\s+[a-zêü:]+\d)*\s*", re.IGNORECASE)
_LAST_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*['’]?$")
_STRESSED = re.compile(r"([A-Z]{2})([012])?")
MARK = "\ue000"
LONGEST_PAUSE_MS = 10_000


@dataclass
class Controls:
    """What the user fixed by hand; keys are offsets in the user's text."""

    syllables: dict[int, str] = field(default_factory=dict)
    arpabet: dict[int, tuple[str, ...]] = field(default_factory=dict)
    pauses: dict[int, int] = field(default_factory=dict)


def parse_arpabet(text: str) -> tuple[str, ...] | None:
    """`R EH1 D` as symbols; the first vowel is stressed if none is marked. None if it is no ARPAbet."""
    symbols: list[str] = []
    for part in text.split():
        match = _STRESSED.fullmatch(part)
        if part in ENGLISH_VOICED or part in ENGLISH_VOICELESS:
            symbols.append(part)
        elif match and match[1] in ENGLISH_VOWELS:
            first = not any(s[-1].isdigit() for s in symbols)
            symbols.append(match[1] + (match[2] or ("1" if first else "0")))
        else:
            return None
    return tuple(symbols) or None


def parse_pinyin(text: str) -> list[str]:
    """`chong2 qing4` as syllables; ValueError if one does not exist."""
    syllables = text.lower().split()
    for syllable in syllables:
        if not pinyin.exists(syllable):
            raise ValueError(
                f"{syllable!r} is not a pinyin syllable with a tone 1-5, such as liang2"
            )
    return syllables


def extract(text: SpanText) -> tuple[SpanText, Controls]:
    """Take the brackets out of a text. A pause leaves `MARK` where it was."""
    controls = Controls()
    parts: list[SpanText] = []
    last = 0
    for match in _BRACKET.finditer(text.text):
        start, end = text.span(*match.span())
        if not _note(match, start, controls):
            continue
        parts.append(text[last : match.start()])
        if start in controls.pauses:
            parts.append(SpanText(MARK, ((start, end),)))
        last = match.end()
    return join([*parts, text[last:]]), controls


def _note(match: re.Match[str], start: int, controls: Controls) -> bool:
    inside, before = match[1], match.string[: match.start()]
    pause = _PAUSE.fullmatch(inside)
    if pause:
        milliseconds = round(float(pause[1]) * (1000 if pause[2].lower() == "s" else 1))
        if milliseconds > LONGEST_PAUSE_MS:
            raise ValueError(f"pause of {milliseconds} ms; the longest is {LONGEST_PAUSE_MS} ms")
        controls.pauses[start] = milliseconds
        return True
    if _PINYIN.fullmatch(inside) and before and is_han(before[-1]):
        syllables = parse_pinyin(inside)
        covered = before[-len(syllables) :]
        if len(covered) < len(syllables) or not all(map(is_han, covered)):
            raise ValueError(f"[{inside}] has {len(syllables)} syllables for fewer characters")
        for back, syllable in enumerate(reversed(syllables), 1):
            controls.syllables[start - back] = syllable
        return True
    word = _LAST_WORD.search(before)
    symbols = parse_arpabet(inside)
    if word and symbols:
        controls.arpabet[start - len(word[0])] = symbols
    return bool(word and symbols)
