"""Mandarin words to pinyin symbols: segment, look up, merge erhua, change tones in context.

In: normalised text (Han characters and `, . ! ? - …`). Out: one `Unit` a word, two symbols a
character. Words come from jieba, readings from pypinyin's phrase tables; a clause is handled
between its punctuation marks.
"""

from __future__ import annotations

import re
from functools import lru_cache

from . import pinyin, polyphones, sandhi, segment
from .controls import Controls
from .punctuation import is_han
from .sandhi import Foot
from .spans import SpanText
from .units import Sounding, Unit, pause

_CLAUSE = re.compile(r"[\u3400-\u9fff〇]+|[,.!?…\ue000^¥-]")
_SYLLABIC_ER = frozenset(
    "女儿 幼儿 婴儿 少儿 男儿 孤儿 健儿 胎儿 孩儿 生儿 婴幼儿 混血儿 宠儿 幸运儿 弃儿"
    " 患儿 孙儿 侄儿 妻儿 花儿 鸟儿 马儿 虫儿 猫儿 狗儿 猪儿 鱼儿 风儿 月儿 我儿 一儿"
    " 新生儿 早产儿 育儿 托儿 健儿".split()
)


_DIGITS = frozenset("零〇一二三四五六七八九幺")
_IN_NUMBER = _DIGITS | frozenset("十百千万亿点两第")
_NAMED = frozenset("月号楼")
_CHANGED = {"百": "4", "千": "4", "万": "2", "亿": "2"}

UNREADABLE = "?5"  # stands for a character that has no known reading; it stays silent


@lru_cache(maxsize=65536)
def readings(word: str) -> tuple[str, ...]:
    """Citation reading of one word, a syllable with tone digit per character."""
    from pypinyin import Style, lazy_pinyin

    found = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True)
    if len(found) == len(word) and all(map(pinyin.exists, found)):
        return tuple(found)
    if len(word) > 1:
        return tuple(syllable for char in word for syllable in readings(char))
    return (UNREADABLE,)


def convert(text: SpanText, fixed: Controls) -> list[Unit]:
    """All words and pauses of a Mandarin stretch; readings in `fixed` hold as they are."""
    units: list[Unit] = []
    for match in _CLAUSE.finditer(text.text):
        if is_han(match[0][0]):
            units.extend(_clause(text[match.start() : match.end()], fixed.syllables))
        else:
            units.append(pause(match[0], *text.span(*match.span()), "zh", fixed))
    return units


def _clause(text: SpanText, fixed: dict[int, str]) -> list[Unit]:
    given = [fixed.get(start) if end == start + 1 else None for start, end in text.spans]
    feet: list[Foot] = []
    firm: dict[int, str] = {}  # places and the tone that they keep
    at = 0
    for word, tag in segment.words(text.text):
        end = at + len(word)
        listed = list(readings(word))
        cited = polyphones.citation(word, tag, text.text[:at], text.text[end:], listed)
        feet.append(Foot(word, tag, _preferred(given[at:end], cited), [len(word)]))
        kept = polyphones.firm(word, tag)
        if kept or (word in "得地" and cited[0][-1] != "5"):
            firm[end - 1] = kept or cited[0][-1]
        at = end
    feet = sandhi.apply(feet)
    _ones(text.text, feet)
    _hold(feet, firm)
    return _spoken(text, feet, given)


def _preferred(given: list[str | None], otherwise: list[str]) -> list[str]:
    return [g or s for g, s in zip(given, otherwise, strict=True)]


def _spoken(text: SpanText, feet: list[Foot], given: list[str | None]) -> list[Unit]:
    units: list[Unit] = []
    at = 0
    for foot in feet:
        _erhua(foot)
        done = 0
        for size in foot.sizes:
            spoken = _preferred(given[at : at + size], foot.syllables[done : done + size])
            units.append(_unit(text[at : at + size], spoken))
            at += size
            done += size
    return units


def _hold(feet: list[Foot], firm: dict[int, str]) -> None:
    """Give back the tones that were taken for neutral ones."""
    places = [(foot, i) for foot in feet for i in range(len(foot.text))]
    for at, tone in firm.items():
        foot, i = places[at]
        if foot.tone(i) == "5":
            foot.set_tone(i, tone)


def _ones(text: str, feet: list[Foot]) -> None:
    """一 as a digit and in 一月, 一号, 一楼 is not changed; 一百, 一千, 一万, 一亿 begin a number changed."""
    places = [(foot, i) for foot in feet for i in range(len(foot.text))]
    for at, (foot, i) in enumerate(places):
        before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
        if text[at] != "一" or not after:
            continue
        if _is_digit(before, after, text[at + 2 : at + 3]):
            foot.set_tone(i, "1")
        elif after in _CHANGED and before not in _IN_NUMBER:
            foot.set_tone(i, _CHANGED[after])


def _is_digit(before: str, after: str, next_but_one: str) -> bool:
    if after in _DIGITS or after in _NAMED:
        return True
    if after in "比到":
        return next_but_one in _IN_NUMBER
    return (after == "日" and before == "月") or (after == "年" and before in _DIGITS)


def _erhua(foot: Foot) -> None:
    """A suffix 儿 takes the tone of the syllable that it closes."""
    text = foot.text
    if len(text) > 1 and text[-1] == "儿" and not {text, text[-2:]} & _SYLLABIC_ER:
        foot.syllables[-1] = "er" + foot.tone(-2)


def _unit(text: SpanText, syllables: list[str]) -> Unit:
    sounds: list[Sounding] = []
    for (start, end), syllable in zip(text.spans, syllables, strict=True):
        pair = () if syllable[0] == UNREADABLE[0] else pinyin.symbols(syllable)
        sounds.extend(Sounding(symbol, start, end) for symbol in pair)
    return Unit(text.text, *text.span(0, len(text)), "zh", tuple(sounds))
