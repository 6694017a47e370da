"""Language by script: Han is Mandarin, Latin is English, and what lies between takes a
neighbour's.

A number belongs to the Latin letters that it touches on its right (`3D`), unless these are
a unit in Mandarin text; then to a following Mandarin measure word (`2024年`) or, unless a Latin word
goes before (`Version 8.20发布`), any character; then to what precedes it; then to what follows. Punctuation stays with what precedes it.
"""

from __future__ import annotations

import re

from .phonemes import Language
from .spans import SpanText

_HAN = r"[\u4e00-\u9fff\u3400-\u4dbf〇]"
_TOKEN = re.compile(
    rf"(?P<zh>{_HAN}+)"
    r"|(?P<unit>(?<=[\d°μ])\s?(?:km/h|kWh|[kMG]?Hz|m/s|μg/m³|km²|[kdcmnμ]m|[cm]?m²|m³|[kmμ]g|m[lL]|kW|dB|min|°?[CF]|[mgtLhsVW])"
    r"(?![A-Za-z]))"
    r"|(?P<en>[A-Za-z](?:[A-Za-z'.-]*[A-Za-z])?'?)"
    r"|(?P<number>[#$€£¥₹₩₽±+-]*\d(?:[\d.,:/^~%‰°×÷+=-]*[\d%‰°])?)"
    r"|(?P<other>\s+|.)",
    re.DOTALL,
)
_MEASURE = re.compile(
    r"\s?[年月日号时点分秒个位名人只条张本次回遍届岁周天元块角毛米克斤吨升倍层楼页章节期级度路度万亿千百折世代后前多余几]"
)
_HAN_NEXT = re.compile(_HAN)


def route(text: SpanText, default: Language | None = None) -> list[tuple[Language, SpanText]]:
    """Cut a text into stretches of one language, in order, covering all of it."""
    tokens = [(m.lastgroup, m.start(), m.end()) for m in _TOKEN.finditer(text.text)]
    languages = _resolve(text.text, tokens, default)
    stretches: list[tuple[Language, SpanText]] = []
    begin = 0
    for i, language in enumerate(languages):
        if i + 1 == len(tokens) or languages[i + 1] != language:
            end = tokens[i][2]
            stretches.append((language, text[begin:end]))
            begin = end
    return stretches


def _resolve(
    text: str, tokens: list[tuple[str | None, int, int]], default: Language | None
) -> list[Language]:
    known: list[Language | None] = [_language(kind) for kind, _, _ in tokens]
    following: list[Language | None] = [None] * len(tokens)
    ahead: Language | None = None
    for i in range(len(tokens) - 1, -1, -1):
        following[i] = ahead
        ahead = known[i] or ahead
    resolved: list[Language] = []
    before: Language | None = None
    for i, (kind, start, end) in enumerate(tokens):
        language = known[i]
        if language is None and kind == "number":
            touching = i + 1 < len(tokens) and tokens[i + 1][0] == "en"
            word = text[:start].rstrip()[-1:]
            named = word.isascii() and word.isalpha() and text[start - 1].isspace()
            if touching:
                language = "en"
            elif _MEASURE.match(text, end) or (_HAN_NEXT.match(text, end) and not named):
                language = "zh"
        language = language or before or default or following[i] or "en"
        resolved.append(language)
        before = language
    return resolved


def _language(kind: str | None) -> Language | None:
    if kind == "zh":
        return "zh"
    return "en" if kind == "en" else None
