"""Mandarin word segmentation with parts of speech (jieba's dictionary and new-word model).

In: a run of Han characters. Out: `(word, tag)` pairs; the tag is the dictionary's (`n` noun, `v`
verb, `u*` particle, ...), `x` for words that are not listed.
"""

from __future__ import annotations

import logging
import warnings
from functools import cache
from importlib.resources import files
from types import ModuleType


@cache
def jieba() -> ModuleType:
    """The segmenter, loaded on first use and kept quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba as module
    module.setLogLevel(logging.ERROR)
    module.initialize()
    return module


@cache
def _tags() -> dict[str, str]:
    with files("jieba").joinpath("dict.txt").open(encoding="utf-8") as lines:
        entries = (line.split() for line in lines)
        return {entry[0]: entry[2] for entry in entries if len(entry) == 3}


def words(text: str) -> list[tuple[str, str]]:
    """Cut a run of characters into tagged words."""
    tags = _tags()
    return [(word, tags.get(word, "x")) for word in jieba().cut(text, HMM=False)]


@cache
def halves(word: str) -> tuple[str, str]:
    """The first natural sub-word of a word and what is left, in order (展览馆 -> 展览, 馆)."""
    parts = sorted(jieba().cut_for_search(word), key=len)
    first = parts[0]
    if word.startswith(first):
        return first, word[len(first) :]
    return word[: -len(first)], first
