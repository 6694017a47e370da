"""The reading that the published v2 models were trained with, where it differs from ours.

A published checkpoint knows only what it heard in training, so for it these conventions
hold, also where ours read better: capitals are spelled, times always say a.m. or p.m.,
abbreviations are not opened, a leading comma opens very short English, Mandarin drops Latin
letters and currency names and reads bare numbers of three digits or more digit by digit.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from . import english, homographs, numbers_en, numbers_zh
from .normalise_en import _MONEY as MONEY_EN
from .normalise_en import _UNITS as UNITS_EN
from .normalise_en import _many, _money
from .normalise_zh import _MEASURES, _UNIT_RE, _UNITS
from .phonemes import Language
from .pipeline import TextPipeline
from .rules import Rule, apply, rule
from .spans import SpanText
from .units import Sounding, Unit

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_SHORT = 4
_ONE_READING = frozenset("live lives wind tear lead bow bass used does dove wound minute".split())


class PublishedPipeline(TextPipeline):
    """Text front end for the published v2 checkpoints.

    With `language` given, the whole text is read in it and words of the other script are dropped.
    """

    convention = "published"

    def __init__(self, lexicon: Path | None = None) -> None:
        super().__init__(lexicon)

    def _route(
        self, text: SpanText, language: Literal["auto", "en", "zh"]
    ) -> list[tuple[Language, SpanText]]:
        if language == "auto":
            return super()._route(text, language)
        return [(language, text)]

    def _normalise(self, language: Language, text: SpanText) -> SpanText:
        return apply(_MANDARIN if language == "zh" else _ENGLISH, text)

    def _pronounce(self, word: str, text: str, start: int) -> tuple[str, ...]:
        if word == "A":
            return ("EY1",)
        low = word.lower()
        context = text[max(0, start - 200) : start], text[start + len(word) :][:200]
        found = None if low in _ONE_READING else homographs.resolve(low, *context)
        return self.lexicon.pronounce(word) or found or english.pronounce(low, 3, False)

    def _tidy(self, units: list[Unit]) -> list[Unit]:
        kept: list[Unit] = []
        for unit in units:
            if unit.is_word or not kept or kept[-1].is_word or unit.pause_ms is not None:
                kept.append(unit)
        if any(unit.text == "\u00a5" for unit in kept):
            kept = [_as(unit, "SP2") if unit.text in ",\u00a5^" else unit for unit in kept]
        elif any(unit.text == "^" for unit in kept):
            kept = [_as(unit, "SP3") if unit.text in ",^" else unit for unit in kept]
        count = sum(len(unit.sounds) for unit in kept)
        if kept and kept[0].language == "en" and count < _SHORT:
            start = kept[0].start
            comma = Sounding(",", start, start)
            kept.insert(0, Unit(",", start, start, "en", (comma,), is_word=False))
        return kept

    def _require_words(self, units: list[Unit]) -> None:
        if not units:
            raise ValueError("nothing to say in the text")


def _as(unit: Unit, symbol: str) -> Unit:
    return replace(unit, text=symbol, sounds=(Sounding(symbol, unit.start, unit.end),))


def _time_en(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    half = "a.m." if hour < 12 else "p.m."
    hour = hour if hour <= 12 else hour - 12
    if not minute:
        return f"{numbers_en.cardinal(hour)} o'clock {half}"
    gap = "oh " if minute < 10 else ""
    return f"{numbers_en.cardinal(hour)} {gap}{numbers_en.cardinal(minute)} {half}"


def _unit_en(match: re.Match[str]) -> str:
    unit = UNITS_EN[match[2]]
    return f"{numbers_en.cardinal(int(match[1]), comma=True)} {_many(match[1], unit)}"


def _number_en(match: re.Match[str]) -> str:
    text = match[0]
    if text.isdigit() and 1000 < int(text) < 3000:
        return numbers_en.pairs(int(text))
    return numbers_en.decimal(text, comma=True)


def _fraction_en(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    return numbers_en.fraction(above, below).replace("quarter", "fourth")


_SIGNS = "".join(re.escape(sign) for sign in MONEY_EN)
_ENGLISH: tuple[Rule, ...] = (
    rule(r"\b(\d{1,2}):([0-5]\d)\b", _time_en),
    rule(rf"(?P<sign>[{_SIGNS}])(?P<amount>{_NUMBER})(?P<scale>)", lambda m: _money(m, comma=True)),
    rule(r"(?<![\d.])(\d+)(km|kg|g|cm|mm|min|h|s|ml|MB|GB)\b", _unit_en),
    rule(rf"({_NUMBER})%", lambda m: f"{numbers_en.decimal(m[1], comma=True)} percent"),
    rule(r"\b(\d+)(?:st|nd|rd|th)\b", lambda m: numbers_en.ordinal(int(m[1]))),
    rule(r"\b(\d+)/(\d+)\b", _fraction_en),
    rule(_NUMBER, lambda m: _number_en(m) + ("" if m.string[m.end() :][:1] in ("", "-") else " ")),
    rule(r"(?<!^)(?<!\s)([A-Z])", r" \1"),
    rule(r"(?<=[a-z])'(?=\s)", " - "),
    rule(r"[^ A-Za-z'.,?!…\ue000-]", " "),
)


def _digits_zh(match: re.Match[str]) -> str:
    return numbers_zh.digits(match[0], telephone=True)


def _time_zh(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    words = numbers_zh.cardinal(hour) + "点"
    if minute == 30:
        return words + "半"
    if minute:
        words += ("零" if minute < 10 else "") + numbers_zh.cardinal(minute) + "分"
    return words


_ARITHMETIC = {"+": "加", "-": "减", "×": "乘", "÷": "除", "=": "等于"}
_MANDARIN: tuple[Rule, ...] = (
    rule(r"\$", "."),
    rule(r"¥(?=\d)", ""),
    rule(r"(?<=\d),(?=\d)", ", "),
    rule(r"(?<!\d)(\d{4}|\d{2})(?=年)", lambda m: numbers_zh.digits(m[1])),
    rule(r"(?<!\d)(\d{1,2}):([0-5]\d)(?::[0-5]\d)?(?!\d)", _time_zh),
    rule(r"(?<=[A-Za-z0-9])([+×÷=-])(?=[A-Za-z0-9])", lambda m: _ARITHMETIC[m[1]]),
    rule(
        r"(\d+)/(\d+)",
        lambda m: f"{numbers_zh.cardinal(int(m[2]))}分之{numbers_zh.cardinal(int(m[1]))}",
    ),
    rule(rf"({_NUMBER})%", lambda m: "百分之" + numbers_zh.decimal(m[1])),
    rule(r"(?<!\d)1[3-9]\d{9}(?!\d)", _digits_zh),
    rule(
        rf"(-?)({_NUMBER})({_UNIT_RE})(?![A-Za-z])",
        lambda m: ("零下" if m[1] else "") + numbers_zh.decimal(m[2]) + _UNITS[m[3]],
    ),
    rule(r"-(\d+)(?:\.\d+)?", lambda m: numbers_zh.decimal(m[0])),
    rule(rf"(?<![\d.])2(?={_MEASURES})(?!月|日|号|十|年)", "两"),
    rule(rf"(?<!\d)\d+(?:\.\d+)?(?={_MEASURES})", lambda m: numbers_zh.decimal(m[0])),
    rule(r"(?<=第)\d+", lambda m: numbers_zh.cardinal(int(m[0]))),
    rule(r"\d+\.\d+", lambda m: numbers_zh.decimal(m[0])),
    rule(r"\d{3,}", _digits_zh),
    rule(r"\d+", lambda m: numbers_zh.decimal(m[0])),
    rule("~", "…"),
    rule("π", "派"),
    rule("嗯", "恩"),
    rule("呣", "母"),
    rule(r"[:;\n]", ","),
    rule(r"[^\u3400-\u9fff〇,.!?…^¥\ue000]", ""),
)
