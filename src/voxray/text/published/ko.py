"""Korean: pronunciation rules to jamo (packages g2pk2 for the rules, python-mecab-ko for the words).

In: a `SpanText` as written. Out: a `Unit` for every word between spaces and one for every mark.
Latin letters are read by their names; numbers before a unit as numbers, others digit by digit.
`空` is a space, `停` any other sign; a text that ends with a word gets a full stop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..controls import Controls
from ..spans import SpanText
from ..units import Sounding, Unit, pause
from .optional import load, parts

_LETTERS = dict(zip("abcdefghijklmnopqrstuvwxyz", (
    "에이 비 시 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 아르 에스 티 유 브이 더블유 엑스 와이"
    " 제트"
).split(), strict=True))  # fmt: skip
_LATIN = re.compile("[A-Za-z]")
_ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏ ㅐ ㅣㅏ ㅣㅐ ㅓ ㅔ ㅣㅓ ㅣㅔ ㅗ ㅗㅏ ㅗㅐ ㅗㅣ ㅣㅗ ㅜ ㅜㅓ ㅜㅔ ㅜㅣ ㅣㅜ ㅡ ㅡㅣ ㅣ".split()
_CODAS = "_ ㄱ ㄲ ㄱㅅ ㄴ ㄴㅈ ㄴㅎ ㄷ ㄹ ㄹㄱ ㄹㅁ ㄹㅂ ㄹㅅ ㄹㅌ ㄹㅍ ㄹㅎ ㅁ ㅂ ㅂㅅ ㅅ ㅆ ㅇ ㅈ ㅊ ㅋ ㅌ ㅍ ㅎ".split()
_JAMO = frozenset(_ONSETS) | frozenset(_VOWELS)
_FIRST, _LAST = "가", "힣"
_MARKS = frozenset(",.!?-…")
_ORDER = (
    "jyeo ye consonant_ui josa_ui vowel_ui jamo rieulgiyeok rieulbieub verb_nieun balb palatalize"
    " modifying_rieul"
).split()
_PURPOSE = "Korean"


@dataclass(frozen=True)
class Rules:
    """The rule modules, the listed exceptions, the table of neighbours and the word analyser."""

    special: Any
    regular: Any
    numerals: Any
    utils: Any
    letters: Any
    exceptions: list[tuple[str, str]]
    table: list[tuple[re.Pattern[str], str]]
    analyser: Any


@cache
def rules() -> Rules:
    """Load everything once."""
    letters = load("jamo", _PURPOSE)
    special, regular, numerals, utils = parts(
        "g2pk2", ["special", "regular", "numerals", "utils"], _PURPOSE
    )
    folder = utils.__file__.rpartition("utils")[0]
    with open(folder + "idioms.txt", encoding="utf-8") as lines:
        entries = [line.partition("#")[0].strip().split("===") for line in lines]
    exceptions = [(entry[0], entry[1]) for entry in entries if len(entry) == 2]
    table = [(re.compile(old), new) for old, new, _ in utils.parse_table()]
    analyser = load("mecab", _PURPOSE).MeCab()
    return Rules(special, regular, numerals, utils, letters, exceptions, table, analyser)


def pronounce(text: str) -> str:
    """Hangul as it sounds: 같이 -> 가치. Rules run in the order that g2pk2 gives them."""
    r = rules()
    for old, new in r.exceptions:
        text = re.sub(old, new, text)
    text = r.numerals.convert_num(r.utils.annotate(text, r.analyser))
    text = r.letters.h2j(text)
    for name in _ORDER:
        text = getattr(r.special, name)(text)
    text = re.sub("/[PJEB]", "", text)
    for pattern, new in r.table:
        text = pattern.sub(new, text)
    for number in (1, 2, 3, 4):
        text = getattr(r.regular, f"link{number}")(text)
    return r.utils.compose(text)


def normalise(text: SpanText) -> SpanText:
    """Nothing: the rules read the text as it stands."""
    return text


def convert(text: SpanText, fixed: Controls) -> list[Unit]:
    """Words and pauses of a stretch."""
    spelled = text.sub(_LATIN, lambda m: _LETTERS[m[0].lower()])
    said = pronounce(spelled.text)
    if said and _FIRST <= said[-1] <= _LAST:
        said += "."
    units: list[Unit] = []
    for token, start, end in _aligned(said, spelled):
        if token in _MARKS or token == "\ue000":
            units.append(pause(token, start, end, "ko", fixed))
            continue
        symbols = [symbol for char in token for symbol in _symbols(char)]
        is_word = token[0].isalnum()
        sounds = tuple(Sounding(symbol, start, end) for symbol in symbols)
        units.append(Unit(token, start, end, "ko", sounds, is_word=is_word))
    return units


def _aligned(said: str, written: SpanText) -> list[tuple[str, int, int]]:
    """Words and marks of what is said, with the spans of the written words, one for one by spaces."""
    spoken = re.findall(r"\s|[^\s]+", said)
    places = [(m.start(), m.end()) for m in re.finditer(r"\s|[^\s]+", written.text)]
    whole = (0, len(written.text))
    found: list[tuple[str, int, int]] = []
    for i, part in enumerate(spoken):
        begin, stop = places[i] if len(places) == len(spoken) else whole
        span = written.span(begin, stop)
        found.extend((token, *span) for token in re.findall(r"[가-힣ㄱ-ㅣ]+|.", part, re.DOTALL))
    return found


def _symbols(char: str) -> list[str]:
    """Jamo of one syllable: onset, vowel (diphthongs in two), coda."""
    if _FIRST <= char <= _LAST:
        place = ord(char) - ord(_FIRST)
        onset, vowel, coda = place // 588, place % 588 // 28, place % 28
        return [_ONSETS[onset], *_VOWELS[vowel], *(_CODAS[coda] if coda else "")]
    if char.isspace():
        return ["空"]
    return [char] if char in _JAMO else ["停"]
