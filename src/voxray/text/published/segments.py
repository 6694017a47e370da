"""Stretches of one language, by script.

`split(text, mode)`: modes `all_zh all_ja all_yue all_ko` give every stretch that is not Latin to
that language, numbers too; `zh ja yue ko` do the same but leave numbers beside Latin words
English; `en` reads all as English; `auto` and `auto_yue` tell Chinese, Japanese and Korean apart
(hangul is Korean, a clause with kana is Japanese but for words that Japanese has no characters
for, other Han is Mandarin or Cantonese). The published code asks a language model instead, which
takes some short Mandarin for Japanese.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

from .. import segment
from ..normalise_zh import _UNIT_RE
from ..spans import SpanText
from .symbols import Tongue, Version

Mode = Literal[
    "auto", "auto_yue", "zh", "en", "ja", "yue", "ko", "all_zh", "all_ja", "all_yue", "all_ko"
]
MODES: dict[Version, tuple[str, ...]] = {
    "v1": ("auto", "en", "zh", "ja", "all_zh", "all_ja"),
    "v2": get_args(Mode),
}
_TOKEN = re.compile(
    r"(?P<en>[A-Za-z](?:[A-Za-z'@.:/-]*[A-Za-z])?'?-?)"
    r"|(?P<number>[$€£¥￥+-]?[0-9０-９](?:[0-9０-９.,:/-]*[0-9０-９])?[%％‰°℃]*"
    r"(?:(?<=[0-9])[μ][A-Za-z]*(?:/[A-Za-z]+)?[²³]?)?)"
    r"|(?P<ko>[\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e]+)"
    r"|(?P<ja>[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff]+)"
    r"|(?P<zh>[\u3400-\u9fff々〇]+)"
    r"|(?P<clause>[。！？!?，,、；;：:\n…])"
    r"|(?P<other>\s+|.)",
    re.DOTALL,
)
_TOUCHES = re.compile(r"[A-Za-z]{2}")
_UNIT = re.compile(rf"(?:{_UNIT_RE})(?![A-Za-z])")
_BEFORE_LATIN = re.compile(r"[ %]*[A-Za-z]")
Token = tuple[str, int, int]


def split(text: SpanText, mode: str) -> list[tuple[Tongue, SpanText]]:
    """Stretches in order, covering the whole text."""
    if mode == "en":
        return [("en", text)]
    forced = mode.removeprefix("all_")
    tokens: list[Token] = [
        (m.lastgroup or "other", m.start(), m.end()) for m in _TOKEN.finditer(text.text)
    ]
    if mode.startswith("auto"):
        tokens = list(_by_word(text.text, tokens))
    if mode.startswith("all_"):
        known = ["en" if kind == "en" else _default(kind, forced) for kind, _, _ in tokens]
    else:
        known = [_latin(text.text, tokens, i) for i in range(len(tokens))]
        if mode.startswith("auto"):
            _tell_apart(text.text, tokens, known, "yue" if mode == "auto_yue" else "zh")
            forced = "yue" if mode == "auto_yue" else "zh"
        else:
            known = [language if language in ("en", None) else forced for language in known]
    return _stretches(text, tokens, _filled(known, forced))


def _default(kind: str, language: str) -> str | None:
    return None if kind in ("clause", "other") else language


def _latin(text: str, tokens: list[Token], i: int) -> str | None:
    """`en`, the script's name, or None for what takes its neighbour's language."""
    kind, start, end = tokens[i]
    if kind != "number":
        return None if kind in ("clause", "other") else kind
    before = tokens[i - 1][0] if i else "clause"
    after = tokens[i + 1][0] if i + 1 < len(tokens) else ""
    following = next(
        (k for k, _, _ in tokens[i + 1 :] if k not in ("clause", "other", "number")), ""
    )
    if before in ("zh", "ja", "ko") and _UNIT.match(text, end):
        return before
    if after == "en" and (before in ("en", "clause", "other") or _TOUCHES.match(text, end)):
        return "en"
    if before == "clause" and _BEFORE_LATIN.match(text, end):
        return "en"
    if before == "en" and following:
        return following
    if before == "other" and i > 1 and tokens[i - 2][0] == "en":
        return "en"
    return after if after in ("zh", "ja", "ko") else None


def _by_word(text: str, tokens: list[Token]) -> Iterator[Token]:
    """The same tokens with runs of Han characters cut into words."""
    for kind, start, end in tokens:
        if kind != "zh":
            yield kind, start, end
            continue
        for word, _ in segment.words(text[start:end]):
            yield kind, start, start + len(word)
            start += len(word)


def _tell_apart(text: str, tokens: list[Token], known: list[str | None], han: str) -> None:
    """Give Han words to Chinese or Japanese, clause by clause."""
    begin = 0
    for i in range(len(tokens) + 1):
        if i == len(tokens) or tokens[i][0] == "clause" or known[i] in ("en", "ko"):
            _settle_clause(text, tokens, known, range(begin, i), han)
            begin = i + 1


def _settle_clause(
    text: str, tokens: list[Token], known: list[str | None], clause: range, han: str
) -> None:
    """Without kana a clause is Chinese; with kana, only from and up to words that no Japanese
    text holds."""
    kana = [j for j in clause if known[j] == "ja"]
    for group in _groups([j for j in clause if known[j] == "zh"]):
        foreign = [j for j in group if not _japanese(text[tokens[j][1] : tokens[j][2]])]
        if not kana:
            chinese = range(group[0], group[-1] + 1)
        elif foreign:
            first = foreign[0] if kana[0] < group[0] else group[0]
            last = foreign[-1] if kana[-1] > group[0] else group[-1]
            chinese = range(first, last + 1)
        else:
            chinese = range(0)
        for j in group:
            known[j] = han if j in chinese else "ja"


def _groups(places: list[int]) -> list[list[int]]:
    """Runs of consecutive numbers."""
    groups: list[list[int]] = []
    for place in places:
        if groups and groups[-1][-1] + 1 == place:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _japanese(word: str) -> bool:
    try:
        word.encode("shift_jis")
    except UnicodeEncodeError:
        return False
    return True


def _filled(known: list[str | None], default: str) -> list[str]:
    """Marks and spaces go with what is before them, at the very beginning with what follows."""
    before = next((language for language in known if language), default)
    filled: list[str] = []
    for language in known:
        before = language or before
        filled.append(before)
    return filled


def _stretches(
    text: SpanText, tokens: list[Token], languages: list[str]
) -> list[tuple[Tongue, SpanText]]:
    found: list[tuple[Tongue, SpanText]] = []
    begin = 0
    for i, language in enumerate(languages):
        if i + 1 == len(tokens) or languages[i + 1] != language:
            found.append((language, text[begin : tokens[i][2]]))  # type: ignore[arg-type]
            begin = tokens[i][2]
    return found
