"""Text cut into what is said in one breath: about ten seconds at most, as in recordings.

In: the user's text. Out: spans as `split_sentences` gives them, but measured by how long they take
to say: a Han character or a digit takes as long as several letters. A sentence that is too long is
cut at its commas; a stretch without any is cut between words, into parts of about equal length,
where a clause or a phrase begins if one begins near by. Words stay whole unless one alone is too
long. A line that was wrapped at its width goes on in the next one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import ceil

from . import segment
from .sentences import COMMA, Span, any_place, safe, sentences, spoken_part, trim

LETTERS = 160.0  # of one breath: about nine seconds
_HAN_LETTERS, _DIGIT_LETTERS = 3.3, 6.0  # measured: 55 ms a letter, 180 a Han, 240-450 a digit
_FULL = 0.85  # of a breath that parts of equal length may fill: leaves a choice of places
_LEAST = 1 / 3  # of a breath that a part up to a comma has at least
_LOOK_AHEAD = 600  # characters in which the end of a stretch without commas is looked for

_HAN = re.compile(r"[\u3400-\u9fff〇]+")
_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"\[[^\[\]\n]{1,40}\]")
_NEXT_WORD = re.compile(r"[A-Za-z]+")
_LAST_WORD = re.compile(r"([A-Za-z]+|\d+|\.)\s*$")

_CLAUSE, _PHRASE, _WORD, _TORN = 0.0, 0.15, 0.35, 0.4  # what a cut there costs; the last is added
_CLAUSES = frozenset(
    "and but or nor yet so when while whenever that which who whom whose because since if unless"
    " until although though whereas where wherever before after as than why how whether".split()
)
_PHRASES = frozenset(
    "of to in on at for with from by about into onto over under through between among without"
    " within against during across along around behind beside beyond near toward towards upon"
    " i he she we they there".split()
)
_BINDING = (
    _CLAUSES
    | _PHRASES
    | frozenset(
        "you it a an the my your his her its our their this these those some any no every each not very"
        " is are was were be been am do does did have has had will would can could shall should may"
        " might must more most too mr mrs ms dr st what".split()
    )
)
_CLAUSES_ZH = frozenset(
    "然后 于是 因此 所以 因为 但是 可是 不过 如果 虽然 而且 并且 或者 以及 当".split()
)
_SUFFIXES_ZH = frozenset(
    "的 地 得 了 着 过 们 儿 吗 呢 吧 啊 呀 上 下 里 中 内 外 后 前 时 起来 下来".split()
)
_PREFIXES_ZH = frozenset("的在到把被给让叫是从向往")


def letters(text: str) -> list[float]:
    """How long each character takes to say, in Latin letters. Controls in brackets take nothing."""
    weights = [_letters(char) for char in text]
    for control in _CONTROL.finditer(text):
        weights[slice(*control.span())] = [0.0] * len(control[0])
    return weights


def _letters(char: str) -> float:
    if _HAN.match(char):
        return _HAN_LETTERS
    return _DIGIT_LETTERS if char.isdigit() else 1.0


def split_breaths(text: str, limit: float = LETTERS) -> list[Span]:
    """Spans (start, end) of what is said in one breath; empty if there is nothing to say.

    `limit` is in letters. ValueError if it is below 10.
    """
    if limit < 10:
        raise ValueError(f"limit is {limit:g} letters; need 10 or more")
    load = [0.0, *accumulate(letters(text))]  # [N + 1], of all characters before each place
    pieces = [
        trim(text, *part)
        for sentence in sentences(text, spoken_part, unwrap=True)
        for part in _fit(text, *sentence, load, limit)
    ]
    return [(start, end) for start, end in pieces if spoken_part(text[start:end])]


def _fit(text: str, start: int, end: int, load: Sequence[float], limit: float) -> Iterator[Span]:
    """Cut a sentence that is too long; what closes it stays with its last word."""
    last = end
    while last > start and not text[last - 1].isalnum():
        last -= 1
    while load[last] - load[start] > limit:
        cut = _cut(text, start, last, load, limit)
        yield start, cut
        start = cut
    yield start, end


def _cut(text: str, start: int, end: int, load: Sequence[float], limit: float) -> int:
    reach = max(start + 1, bisect_right(load, load[start] + limit) - 1)
    commas = [m.end() for m in COMMA.finditer(text, start, reach) if safe(text, m.end())]
    if commas and load[commas[-1]] - load[start] > _LEAST * limit:
        return commas[-1]
    places = dict(_places(text, start, reach))
    if not places:
        return any_place(text, start, reach)
    stretch = load[_stretch_end(text, reach, end)] - load[start]
    ideal = stretch / ceil(stretch / (_FULL * limit))

    def cost(place: int) -> float:
        return places[place] + abs(load[place] - load[start] - ideal) / ideal

    return min(places, key=cost)


def _stretch_end(text: str, reach: int, end: int) -> int:
    """Where the stretch without commas that goes on at `reach` ends, as far as one looks."""
    comma = COMMA.search(text, reach, min(end, reach + _LOOK_AHEAD))
    return comma.start() if comma else min(end, reach + _LOOK_AHEAD)


def _places(text: str, start: int, reach: int) -> Iterator[tuple[int, float]]:
    """Places between words, (start, reach], and what a cut there costs."""
    for space in _SPACE.finditer(text, start + 1, reach):
        if safe(text, space.end()) and spoken_part(text[start : space.start()]):
            yield space.end(), _cost_of_space(text, space.end())
    for run in _HAN.finditer(text, start, min(len(text), reach + 8)):
        for place, cost in _between_han(run[0], run.start()):
            if place <= reach and safe(text, place):
                yield place, cost


def _cost_of_space(text: str, place: int) -> float:
    following, before = (
        _NEXT_WORD.match(text, place),
        _LAST_WORD.search(text[max(0, place - 24) : place]),
    )
    word = following[0].lower() if following else ""
    cost = _CLAUSE if word in _CLAUSES else _PHRASE if word in _PHRASES else _WORD
    tied = before is not None and (before[1].lower() in _BINDING or not before[1].isalpha())
    return cost + _TORN * tied


def _between_han(run: str, offset: int) -> Iterator[tuple[int, float]]:
    """Word boundaries inside a run of Han characters, by jieba; what each costs."""
    words = segment.words(run)
    place = offset
    for (before, tag), (word, following) in zip(words, words[1:], strict=False):
        place += len(before)
        clause = word in _CLAUSES_ZH or following == "c"
        cost = _CLAUSE if clause else _PHRASE if following[0] in "pr" else _WORD
        tied = following[0] in "uy" or word in _SUFFIXES_ZH
        tied = tied or tag[0] in "pcmdr" or tag == "uj" or before[-1] in _PREFIXES_ZH
        yield place, cost + _TORN * tied
