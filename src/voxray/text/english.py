"""English words to ARPAbet: lexicon first, then structure, then spelling.

In: normalised English text (letters, apostrophes, spaces, `, . ! ? - …`). Out: one `Unit` a word.
A word is looked up in the CMU Pronouncing Dictionary (data/cmudict.tsv.xz, with our additions in
data/english_extra.tsv); what is not there is tried as an inflection, an acronym, a compound, and
last guessed from its spelling (`spelling.py`).
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib.resources import files

from . import homographs, spelling
from .controls import Controls
from .spans import SpanText
from .units import Sounding, Unit, pause

Reading = tuple[str, ...]
Pronounce = Callable[[str, str, int], Reading]

_TOKEN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*'?|[,.!?…\ue000-]")
_PART = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*'?")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_VOICELESS = frozenset("P T K F TH".split())
_SIBILANT = frozenset("S Z SH ZH CH JH".split())
_ACRONYM_WORDS = frozenset(
    "nasa nato opec aids unesco unicef laser radar scuba ram rom gif sim pin sars covid"
    " asap yolo java bios swat fifa uefa nafta asean json yaml ascii unix cuda imax ikea"
    " nasdaq".split()
)
_LONGEST_ACRONYM = 5
_ENDINGS = (("ing", ("IH0", "NG")), ("ally", ("L", "IY0")), ("ly", ("L", "IY0")),
            ("ness", ("N", "AH0", "S")))  # fmt: skip


@cache
def lexicon() -> dict[str, str]:
    """Lower-case word -> pronunciations, separated by `|`, symbols by spaces."""
    data = files(__package__).joinpath("data")
    lines = lzma.decompress(data.joinpath("cmudict.tsv.xz").read_bytes()).decode().splitlines()
    more = data.joinpath("english_extra.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in [*lines, *more] if not line.startswith("#"))


def known(word: str) -> Reading | None:
    """First listed pronunciation of a lower-case word."""
    found = lexicon().get(word)
    return tuple(found.partition("|")[0].split()) if found else None


def spell(word: str) -> Reading:
    """Letter by letter."""
    sounds: list[str] = []
    for letter in word.lower():
        sounds.extend(("EY1",) if letter == "a" else known(letter) or ())
    return tuple(sounds)


def _plural(stem: Reading) -> Reading:
    if stem[-1] in _SIBILANT:
        return (*stem, "IH0", "Z")
    return (*stem, "S" if stem[-1] in _VOICELESS else "Z")


def _past(stem: Reading) -> Reading:
    if stem[-1] in ("T", "D"):
        return (*stem, "IH0", "D")
    return (*stem, "T" if stem[-1] in _VOICELESS | {"S", "SH", "CH"} else "D")


def _inflected(word: str) -> Reading | None:
    """Regular endings on a listed stem: plays, walked, baking, quickly."""
    for ending, add in (("s", _plural), ("ed", _past)):
        stems = (word[: -len(ending)], word[:-1] if ending == "ed" else word[:-2])
        stem = next((known(s) for s in stems if word.endswith(ending) and known(s)), None)
        if stem and len(word) > 3 and not word.endswith("ss"):
            return add(stem)
    for ending, sounds in _ENDINGS:
        base = word[: -len(ending)]
        stem = known(base) or (known(base + "e") if ending == "ing" else None)
        if word.endswith(ending) and len(base) > 2 and stem:
            return (*stem, *sounds)
    return None


def _compound(word: str) -> Reading | None:
    """Two listed words, the first as long as it goes, each of three letters or more."""
    for cut in range(len(word) - 3, 2, -1):
        first, second = known(word[:cut]), known(word[cut:])
        if first and second and max(cut, len(word) - cut) > 3:
            return first + second
    return None


@lru_cache(maxsize=65536)
def pronounce(word: str, spell_up_to: int = 2, endings: bool = True) -> Reading:
    """Pronunciation of one lower-case word out of context; `endings` analyses inflections."""
    bare = word.strip("'") or word
    found = known(word) or known(bare)
    if found:
        return found
    if bare.endswith("'s") and bare[:-2]:
        return _plural(pronounce(bare[:-2], spell_up_to, endings))
    letters = re.sub("[^a-z]", "", bare)
    if len(letters) <= spell_up_to or not set(letters) & set("aeiouy"):
        return spell(letters)
    found = known(letters) or (_inflected(letters) if endings else None) or _compound(letters)
    return found or spelling.guess(letters)


def in_context(word: str, text: str, start: int) -> Reading:
    """Pronunciation of the word at `text[start:]`: articles, acronyms, homographs, CamelCase."""
    low = word.lower()
    after = text[start + len(word) :]
    if low == "a":
        article = word == "a" or re.match(r"\s+[A-Za-z]{2}", after)
        return ("AH0",) if article else ("EY1",)
    found = homographs.resolve(low, text[max(0, start - 200) : start], after[:200])
    if found and not (word.isupper() and not _shouting(text)):
        return found
    if word.isupper() and len(word) > 1:
        return _capitals(word, text)
    stem, _, ending = word.partition("'")
    if stem.isupper() and len(stem) > 1 and ending == "s":
        return _plural(_capitals(stem, text))
    plural = re.fullmatch(r"([A-Z]{2,})s", word)
    if plural:
        return _plural(spell(plural[1]))
    parts = _CAMEL.findall(word)
    if len(parts) > 1 and not known(low) and "".join(parts) == word:
        return tuple(s for part in parts for s in in_context(part, part, 0))
    return pronounce(low)


def _capitals(word: str, text: str) -> Reading:
    low = word.lower()
    if low in _ACRONYM_WORDS or (_shouting(text) and known(low)):
        return pronounce(low)
    return spell(word) if len(word) <= _LONGEST_ACRONYM else pronounce(low)


@lru_cache(maxsize=16)
def _shouting(text: str) -> bool:
    """Whether a whole stretch is in capitals, so that these tell nothing."""
    words = [w for w in _PART.findall(text) if len(w) > 1]
    return len(words) > 2 and sum(w.isupper() for w in words) > 0.7 * len(words)


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Words and marks; a hyphenated word stays whole only if it is listed."""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if "-" in token[1:] and token.lower() not in lexicon():
            for part in _PART.finditer(token):
                yield part[0], match.start() + part.start(), match.start() + part.end()
        else:
            yield token, *match.span()


def convert(text: SpanText, fixed: Controls, pronounce_: Pronounce) -> list[Unit]:
    """All words and pauses of an English stretch; readings in `fixed` hold as they are."""
    units: list[Unit] = []
    for token, first, last in _tokens(text.text):
        start, end = text.span(first, last)
        if not token[0].isalpha():
            units.append(pause(token, start, end, "en", fixed))
            continue
        symbols = fixed.arpabet.get(start) or pronounce_(token, text.text, first)
        sounds = tuple(Sounding(symbol, start, end) for symbol in symbols)
        units.append(Unit(token, start, end, "en", sounds))
    return units
