"""Long text cut into pieces that can be spoken one after another.

In: the user's text. Out: spans that cover every speakable character, in order, each at most
`max_chars` long where a cut is possible; cut at sentence ends, else at commas, else between words.
A piece always holds a word, and bracketed controls stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_END = re.compile(
    r"(?:[。！？!?…]+|\.{2,}|(?<!\d)\.(?=\s|$)|(?<=\d)\.(?=\s+[A-Z]|\s*$))[\"'”’」』）)\]]*|\n+"
)
COMMA = re.compile(r"[,，、;；:：—]+\s*|\s-\s")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|jr|sr|gen|col|capt|lt|sgt|sen|rev|gov|vs|etc|no|fig|approx|dept|inc"
    r"|ltd|corp|co|mt|ave|blvd|rd|e\.g|i\.e)|\b[A-Za-z](?:\.[A-Za-z])*)\.$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9\u3400-\u9fff〇]")
WRAPPED = re.compile(r"(?<=[^\n]{39}[a-z,])\n(?=[a-z])")  # a line this long was cut by its width
LONGEST_CONTROL = 200  # characters in brackets
Span = tuple[int, int]


def split_sentences(
    text: str, max_chars: int = 200, speaks: Callable[[str], bool] | None = None
) -> list[Span]:
    """Spans (start, end) of the pieces; empty if there is nothing to say.

    `speaks` tells of a letter or digit whether it can be said (default: Latin and Han).
    """
    if max_chars < 10:
        raise ValueError(f"max_chars is {max_chars}; need 10 or more")
    pieces: list[Span] = []
    spoken = _spoken_by(speaks)
    for start, end in sentences(text, spoken):
        pieces.extend(_fit(text, start, end, max_chars))
    trimmed = (trim(text, start, end) for start, end in pieces)
    return [(start, end) for start, end in trimmed if spoken(text[start:end])]


def _spoken_by(speaks: Callable[[str], bool] | None) -> Callable[[str], bool]:
    if speaks is None:
        return spoken_part
    return lambda part: any(char.isalnum() and speaks(char) for char in part)


def spoken_part(part: str) -> bool:
    """Whether there is a Latin letter, a digit or a Han character in it."""
    return _WORD.search(part) is not None


def sentences(text: str, spoken: Callable[[str], bool], *, unwrap: bool = False) -> list[Span]:
    """Spans of the sentences, together the whole text; `unwrap`: a wrapped line is no sentence."""
    return _joined(text, _sentences(text, unwrap), spoken)


def _sentences(text: str, unwrap: bool) -> list[Span]:
    spans: list[Span] = []
    last = 0
    for match in _END.finditer(text):
        if match[0].startswith(".") and _is_abbreviation(text, match):
            continue
        if unwrap and WRAPPED.match(text, match.start()):
            continue
        spans.append((last, match.end()))
        last = match.end()
    return [*spans, (last, len(text))]


def _is_abbreviation(text: str, match: re.Match[str]) -> bool:
    end = match.start() + 1
    if not _ABBREVIATION.search(text[max(0, end - 12) : end]):
        return False
    return bool(text[match.end() :].strip())


def _joined(text: str, spans: list[Span], spoken: Callable[[str], bool]) -> list[Span]:
    """A piece without a word (a stray mark, a pause) goes with the one before it."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not spoken(text[start:end]):
            joined[-1] = (joined[-1][0], end)
        elif joined and not spoken(text[slice(*joined[-1])]):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _fit(text: str, start: int, end: int, limit: int) -> list[Span]:
    """Cut a sentence that is too long, each time at the last good place that fits."""
    spans: list[Span] = []
    while end - start > limit:
        cut = _cut(text, start, start + limit)
        spans.append((start, cut))
        start = cut
    return [*spans, (start, end)]


def _cut(text: str, start: int, limit: int) -> int:
    commas = [m.end() for m in COMMA.finditer(text, start, limit) if safe(text, m.end())]
    if commas and commas[-1] > start + (limit - start) // 3:
        return commas[-1]
    return any_place(text, start, limit)


def any_place(text: str, start: int, limit: int) -> int:
    """The last place in (start + 1, limit] that is not inside a Latin word; else `limit`."""
    for at in range(limit, start + 1, -1):
        between_latin = (
            text[at - 1].isascii() and text[at - 1].isalnum() and text[at : at + 1].isalnum()
        )
        if not between_latin and safe(text, at):
            return at
    return limit


def safe(text: str, at: int) -> bool:
    """Whether one may cut there: not inside a bracket, nor inside a number with separators."""
    begin = max(0, at - LONGEST_CONTROL)
    opened, closed = text.rfind("[", begin, at), text.rfind("]", begin, at)
    inside = opened > closed and "]" in text[at : at + LONGEST_CONTROL]
    inside = inside or text[at : at + 1] == "["
    return not inside and not (text[at - 2 : at - 1].isdigit() and text[at : at + 1].isdigit())


def trim(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
