"""Mandarin as the published models read it.

In: a `SpanText` as written. Out: `Unit`s, two symbols a character, one a punctuation mark. What
is neither Han nor `, . ! ? …` is dropped; bare numbers of three digits or more are read digit by
digit; a full-width yuan sign or `^` makes every comma of the text a longer pause (SP2, SP3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .. import mandarin, numbers_zh, pinyin, sandhi, segment
from ..controls import Controls
from ..normalise_zh import _MEASURES, _UNITS
from ..punctuation import clean, is_han
from ..rules import Rule, apply, rule
from ..sandhi import Foot
from ..spans import SpanText
from ..units import Sounding, Unit, pause
from .symbols import Tongue

Readings = Callable[[str], Sequence[str]]
"""A clause of Han characters -> one pinyin syllable (`zhong4`) for each of them."""

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_UNIT_RE = "|".join(sorted((re.escape(u) for u in _UNITS if "μ" not in u), key=len, reverse=True))
_SP2, _SP3 = "\ue001", "^"
_BEFORE = dict.fromkeys("()（）[]［］{}｛｝【】〔〕〖〗", "") | {
    "\uffe5": _SP2,
    "：": "，",
    "・": "",
    "；": "，",
}
_ARITHMETIC = {"+": "加", "-": "减", "×": "乘", "÷": "除", "=": "等于"}
_GREEK = dict(zip("αβγδεζηθικλμνξπρστφχψω", (
    "阿尔法 贝塔 伽玛 德尔塔 艾普西龙 捷塔 依塔 西塔 艾欧塔 喀帕 拉姆达 缪 拗 克西 派 肉 西格玛 套 服艾"
    " 器 普赛 欧米伽"
).split(), strict=True))  # fmt: skip
_SMALL_UNITS = {
    "m³": "立方米", "m3": "立方米", "m²": "平方米", "m2": "平方米", "cm": "厘米", "mm": "毫米", "km": "千米",
    "kg": "千克", "ml": "毫升", "db": "分贝", "m": "米", "s": "秒", "/": "每",
}  # fmt: skip
_POWERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "零一二三四五六七八九", strict=True))
_CLAUSE = re.compile(r"[\u3400-\u9fff〇]+|[,.!?…\ue000\ue001^]")


def _digits(match: re.Match[str]) -> str:
    return numbers_zh.digits(match[0], telephone=True)


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    words = numbers_zh.cardinal(hour) + "点"
    if minute == 30:
        return words + "半"
    if minute:
        words += ("零" if minute < 10 else "") + numbers_zh.cardinal(minute) + "分"
    return words


_RULES: tuple[Rule, ...] = (
    rule(r"\$", "."),
    rule(r"\u00a5", ""),
    rule(r"(?<=\d),(?=\d)", ", "),
    rule(r"(?<!\d)(\d{4}|\d{2})(?=年)", lambda m: numbers_zh.digits(m[1])),
    rule(r"(?<!\d)(\d{1,2}):([0-5]\d)(?::[0-5]\d)?(?!\d)", _time),
    rule(r"(?<=[A-Za-z0-9])([+×÷=-])(?=[A-Za-z0-9])", lambda m: _ARITHMETIC[m[1]]),
    rule(
        r"(\d+)/(\d+)",
        lambda m: f"{numbers_zh.cardinal(int(m[2]))}分之{numbers_zh.cardinal(int(m[1]))}",
    ),
    rule(rf"({_NUMBER})%", lambda m: "百分之" + numbers_zh.decimal(m[1])),
    rule(r"(?<!\d)1[3-9]\d{9}(?!\d)", _digits),
    rule(
        rf"(-?)({_NUMBER})({_UNIT_RE})(?![A-Za-z/])",
        lambda m: ("零下" if m[1] else "") + numbers_zh.decimal(m[2]) + _UNITS[m[3]],
    ),
    rule(r"-(\d+)(?:\.\d+)?", lambda m: numbers_zh.decimal(m[0])),
    rule(rf"(?<![\d.])2(?={_MEASURES})(?!月|日|号|十|年)", "两"),
    rule(r"(?<![\d.年])2(?=月(?!\d))", "两"),
    rule(rf"(?<!\d)\d+(?:\.\d+)?(?={_MEASURES})", lambda m: numbers_zh.decimal(m[0])),
    rule(r"(?<=第)\d+", lambda m: numbers_zh.cardinal(int(m[0]))),
    rule(r"\d+\.\d+", lambda m: numbers_zh.decimal(m[0])),
    rule(r"\d{3,}", _digits),
    rule(r"\d+", lambda m: numbers_zh.decimal(m[0])),
    rule("|".join(map(re.escape, _SMALL_UNITS)), lambda m: _SMALL_UNITS[m[0]]),
    rule(f"[{''.join(_POWERS)}]", lambda m: f"的{_POWERS[m[0]]}次方"),
    rule(f"[{''.join(_GREEK)}]", lambda m: _GREEK[m[0]]),
    rule("~", "…"),
    rule("嗯", "恩"),
    rule("呣", "母"),
    rule(r"\n", ","),
    rule(r"[^\u3400-\u9fff〇,.!?…^\ue000\ue001]", ""),
)


def normalise(text: SpanText) -> SpanText:
    """Simplified Han characters and `, . ! ? …` only, numbers in words."""
    return apply(_RULES, clean(text.translate(_BEFORE)))


def convert(
    text: SpanText, fixed: Controls, erhua: bool = True, readings: Readings | None = None
) -> list[Unit]:
    """Words and pauses; `erhua` merges a final 儿 (v2), `readings` replaces the word dictionary."""
    units: list[Unit] = []
    for match in _CLAUSE.finditer(text.text):
        part = text[match.start() : match.end()]
        if is_han(match[0][0]):
            units.extend(_clause(part, fixed.syllables, erhua, readings))
        else:
            units.append(pause(match[0], *part.span(0, 1), "zh", fixed))
    return pauses(units, "zh")


def pauses(units: list[Unit], language: Tongue) -> list[Unit]:
    """The first mark of a run stays; a pause control makes all commas longer pauses."""
    kept: list[Unit] = []
    for unit in units:
        if unit.is_word or not kept or kept[-1].is_word or unit.pause_ms is not None:
            kept.append(unit)
    for control, symbol in ((_SP2, "SP2"), (_SP3, "SP3")):
        if any(unit.text == control for unit in kept):
            return [_as(unit, symbol) if unit.text in (",", _SP2, _SP3) else unit for unit in kept]
    return kept


def _as(unit: Unit, symbol: str) -> Unit:
    return replace(unit, sounds=(Sounding(symbol, unit.start, unit.end),))


def _clause(
    text: SpanText, fixed: dict[int, str], erhua: bool, readings: Readings | None
) -> list[Unit]:
    given = [fixed.get(start) if end == start + 1 else None for start, end in text.spans]
    feet: list[Foot] = []
    cited = _cited(text.text, readings)
    for word, tag in segment.words(text.text):
        at = sum(len(foot.text) for foot in feet)
        syllables = cited[at : at + len(word)] if cited else list(mandarin.readings(word))
        wanted = given[at : at + len(word)]
        syllables = [g or s for g, s in zip(wanted, syllables, strict=True)]
        feet.append(Foot(word, tag, syllables, [len(word)]))
    spoken: list[str] = []
    sizes: list[int] = []
    for foot in sandhi.apply(feet):
        if erhua:
            mandarin._erhua(foot)
        spoken += foot.syllables
        sizes += foot.sizes
    spoken = [g or s for g, s in zip(given, spoken, strict=True)]
    units: list[Unit] = []
    at = 0
    for size in sizes:
        units.append(_unit(text[at : at + size], spoken[at : at + size]))
        at += size
    return units


def _cited(text: str, readings: Readings | None) -> list[str] | None:
    """What the polyphone model says; the dictionary's word where it says nothing usable."""
    if readings is None:
        return None
    found = list(readings(text))
    if len(found) != len(text):
        return None
    alone = (mandarin.readings(char)[0] for char in text)
    return [s if s and pinyin.exists(s) else other for s, other in zip(found, alone, strict=True)]


def _unit(text: SpanText, syllables: list[str]) -> Unit:
    sounds: list[Sounding] = []
    for (start, end), syllable in zip(text.spans, syllables, strict=True):
        readable = syllable != mandarin.UNREADABLE
        pair = pinyin.symbols(syllable) if readable else ("UNK", "UNK")
        sounds.extend(Sounding(symbol, start, end) for symbol in pair)
    return Unit(text.text, *text.span(0, len(text)), "zh", tuple(sounds))
