"""What the text front end returns: phonemes, each knowing its word, its place in the user's text,
its language and its class.

`Phonemes.items` is what the models read (`.ids`); `Phonemes.words` is what captions,
highlights and explanations speak of. All spans are character offsets into `Phonemes.text`,
the text as given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Phoneme:
    """One symbol for the models; `word` indexes `Phonemes.words`, -1 for a pause."""

    symbol: str
    id: int
    word: int
    start: int
    end: int
    language: Language
    kind: str
    pause_ms: int | None = None


@dataclass(frozen=True)
class Word:
    """One spoken word. Words expanded from one number share that number's span."""

    text: str
    start: int
    end: int
    language: Language


@dataclass(frozen=True)
class Phonemes:
    """A text, as it will be spoken."""

    text: str
    normalised: str
    items: tuple[Phoneme, ...]
    words: tuple[Word, ...]
    warnings: tuple[str, ...] = ()

    @cached_property
    def ids(self) -> list[int]:
        """Symbol ids, in order: the models' input."""
        return [item.id for item in self.items]

    @cached_property
    def symbols(self) -> list[str]:
        """Symbols, in order."""
        return [item.symbol for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __str__(self) -> str:
        return " ".join(self.symbols)
