"""Characters before anything else: width, quotes, brackets, dashes, invisible and unsayable ones.

In: the user's text. Out: a `SpanText` of Han, Latin, digits, symbols that the number rules
know, and plain ASCII punctuation. Nothing here depends on the language.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

from .spans import SpanText

_SAME = {
    "。": ".", "．": ".", "｡": ".", "，": ",", "、": ",", "؛": ",", "；": ";", "：": ":",
    "！": "!", "？": "?", "…": "…", "⋯": "…", "—": "-", "–": "-", "―": "-", "‐": "-",
    "‑": "-", "−": "-", "～": "~", "〜": "~", "‘": "'", "’": "'", "ʼ": "'", "＇": "'",
    "`": "'", "´": "'", "％": "%", "￥": "¥", "＄": "$", "•": ",", "・": ",", "·": "·",
    "\t": " ", "\u3000": " ", "\u00a0": " ", "¿": "", "¡": "", "｜": ",", "|": ",",
    "℃": "°C", "℉": "°F", "﹣": "-", "㎏": "kg", "㎞": "km", "㎝": "cm", "㎜": "mm",
    "㎡": "m²",
}  # fmt: skip
_DROPPED = set('"“”„‟«»「」『』《》〈〉＂＊*※★☆■□▲△◆◇●○♪♫♥❤™®†‡§¶')
_BRACKETS = set("()（）[]［］{}｛｝【】〔〕〖〗")
_LINE_ENDS = set("\n\r\v\f\x85\u2028\u2029")
_KEPT = set(",.!?-…;:'~^$€£¥₹₩₽%‰#¢&@+=<>/\\_°²³½¼¾×÷±√≈≤≥π→©μ· ") | set("0123456789")


_WRAPPED = re.compile(r"(?<=[a-z,])\n(?=[a-z])")
_LISTED = re.compile(r"(?<=\d)[，、；](?=\d)")  # between numbers, not within one
_DOTS = re.compile(r"\.{2,}|…+")


@cache
def _simplified() -> dict[str, str]:
    text = files(__package__).joinpath("data", "simplified.txt").read_text(encoding="utf-8")
    pairs = "".join(line for line in text.splitlines() if not line.startswith("#"))
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def simplified(text: str) -> str:
    """Traditional characters in their simplified form, one for one."""
    table = _simplified()
    return "".join(table.get(char, char) for char in text)


@cache
def _of(char: str) -> str:
    if char in _SAME:
        return _SAME[char]
    if char in _LINE_ENDS:
        return "\n"
    if char in _BRACKETS:
        return ","
    if is_han(char):
        return _simplified().get(char, char)
    if char in _KEPT or (char.isascii() and char.isalnum()):
        return char
    if char in _DROPPED:
        return ""
    return _folded(char)


def _folded(char: str) -> str:
    """Full-width forms and accented Latin letters in ASCII; unknown scripts stay, rubbish goes."""
    plain = unicodedata.normalize("NFKD", char)
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    if "\u2044" in kept:  # a fraction in one character; the space: 2⅓ is no 21/3
        kept = " " + kept.replace("\u2044", "/")
    special = {
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
        "ø": "o",
        "Ø": "O",
        "œ": "oe",
        "ł": "l",
        "đ": "d",
        "ı": "i",
    }
    if char in special:
        return special[char]
    if kept != char and kept and all(c.isascii() or is_han(c) for c in kept):
        return kept
    return char if unicodedata.category(char)[0] in "LN" or "\ue000" <= char <= "\uf8ff" else ""


def is_han(char: str) -> bool:
    """Whether a character is a Chinese ideograph that has readings."""
    return "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" or char == "〇"


def clean(text: SpanText) -> SpanText:
    """Replace or drop every character by the table; joins hard-wrapped lines and runs of dots."""
    text = text.sub(_LISTED, ", ")
    text = text.translate({char: _of(char) for char in set(text.text)})
    return text.sub(_WRAPPED, " ").sub(_DOTS, "…")
