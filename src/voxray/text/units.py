"""Words and pauses on their way from text to phonemes: what each language's converter returns."""

from __future__ import annotations

from dataclasses import dataclass

from .controls import MARK, Controls
from .phonemes import Language
from .symbols import PAUSE


@dataclass(frozen=True)
class Sounding:
    """One symbol and the span of the user's text that it speaks."""

    symbol: str
    start: int
    end: int


@dataclass(frozen=True)
class Unit:
    """A spoken word, or a pause (`is_word` False)."""

    text: str
    start: int
    end: int
    language: Language
    sounds: tuple[Sounding, ...]
    is_word: bool = True
    pause_ms: int | None = None


def pause(mark: str, start: int, end: int, language: Language, fixed: Controls) -> Unit:
    """A punctuation mark as a pause; `MARK` is one whose length the user gave."""
    symbol = PAUSE if mark == MARK else mark
    length = fixed.pauses.get(start) if mark == MARK else None
    sounds = (Sounding(symbol, start, end),)
    return Unit(symbol, start, end, language, sounds, is_word=False, pause_ms=length)
