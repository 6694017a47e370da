"""Which word an edit means: by its text and occurrence, or by its number in the whole text."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..text import Phonemes


def find_word(phonemes: Phonemes | None, word: str | int, occurrence: int = 1) -> int:
    """Number of the word meant; ValueError names words that look alike, if it is not there."""
    if phonemes is None:
        raise ValueError("which words there are is not known yet")
    if isinstance(word, int):
        if 0 <= word < len(phonemes.words):
            return word
        raise ValueError(f"the text has words 0 to {len(phonemes.words) - 1}, not {word}")
    names = [entry.text for entry in phonemes.words]
    said = [phonemes.text[entry.start : entry.end] for entry in phonemes.words]
    wanted = word.casefold().strip()
    hits = [i for i, pair in enumerate(zip(names, said)) if wanted in _folded(pair)]
    if len(hits) >= occurrence:
        return hits[occurrence - 1]
    if hits:
        raise ValueError(f"{word!r} stands {len(hits)} times in the text, not {occurrence}")
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"; there is {', '.join(repr(name) for name in near)}" if near else ""
    raise ValueError(f"the word {word!r} is not in the text{hint}")


def _folded(names: tuple[str, str]) -> set[str]:
    return {name.casefold().strip(" .,!?") for name in names}
