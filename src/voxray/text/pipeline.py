"""The text front end: a string in, `Phonemes` out, each with its word, span, language and class.

    controls -> user lexicon -> characters -> language by script -> numbers to words -> sounds -> pauses

The pipeline is frozen: the same text, lexicon and library versions give the same phonemes, and
`fingerprint` names that state (see `fingerprint.py`).
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from . import controls, english, fingerprint, mandarin, normalise_en, normalise_zh
from .controls import Controls
from .inventory import sound
from .lexicon import Lexicon
from .phonemes import Language, Phoneme, Phonemes, Word
from .punctuation import clean
from .script import route
from .spans import SpanText, join
from .symbols import SYMBOL_TO_ID
from .units import Unit

MAX_CHARACTERS = 50_000
_STRENGTH = "-,.…!?"
_LATE_MARKS = {":": ",", ";": ",", "\n": ".", "·": "", "^": "", "¥": ""}
_ENDLESS = re.compile(r"[\d,]{1000,}")
_OTHER_SCRIPT = re.compile(r"[^\W\d_]")


class TextPipeline:
    """Frozen text front end for English and Mandarin; loads its dictionaries on first use."""

    convention = "voxray"

    def __init__(self, lexicon: Path | None = None) -> None:
        self.lexicon = Lexicon.load(Path(lexicon)) if lexicon else Lexicon()

    def __call__(self, text: str, language: Literal["auto", "en", "zh"] = "auto") -> Phonemes:
        """Phonemes of `text`.

        Every stretch is read in the language of its script; `language` decides for numbers without
        words beside them. ValueError if the text is too long or holds nothing to say.
        """
        validate(text)
        if language not in ("auto", "en", "zh"):
            raise ValueError(f"language is {language!r}; choose auto, en or zh")
        plain, fixed = controls.extract(SpanText.of(text).translate({controls.MARK: ""}))
        plain = clean(self.lexicon.respell(plain))
        self.lexicon.note(plain, fixed)
        units: list[Unit] = []
        spoken: list[SpanText] = []
        for tongue, stretch in self._route(plain, language):
            normal = self._normalise(tongue, stretch)
            spoken.append(normal)
            units.extend(self._convert(tongue, normal, fixed))
        units = self._tidy(units)
        self._require_words(units)
        return _assemble(text, join(spoken).text, units, _skipped(plain))

    def speaks(self, char: str) -> bool:
        """Whether a letter or digit belongs to a script that is read here."""
        return char.isascii() or not sounds_lost(char)

    @cached_property
    def fingerprint(self) -> str:
        """Names the state of the front end; saved with every model, voice and synthesis."""
        return fingerprint.fingerprint(self)

    def settings(self) -> dict[str, str]:
        """What was chosen when it was built; a part of the fingerprint."""
        return {"convention": self.convention}

    def manifest(self) -> dict[str, Any]:
        """What the fingerprint is a hash of, and how the probe sentences read; plain JSON types."""
        return fingerprint.manifest(self)

    def _route(
        self, text: SpanText, language: Literal["auto", "en", "zh"]
    ) -> list[tuple[Language, SpanText]]:
        return route(text, None if language == "auto" else language)

    def _normalise(self, language: Language, text: SpanText) -> SpanText:
        rules = normalise_zh if language == "zh" else normalise_en
        return rules.normalise(text).translate(_LATE_MARKS)

    def _convert(self, language: Language, text: SpanText, fixed: Controls) -> list[Unit]:
        if language == "zh":
            return mandarin.convert(text, fixed)
        return english.convert(text, fixed, self._pronounce)

    def _pronounce(self, word: str, text: str, start: int) -> tuple[str, ...]:
        return self.lexicon.pronounce(word) or english.in_context(word, text, start)

    def _tidy(self, units: list[Unit]) -> list[Unit]:
        """One pause between words: the strongest mark of a run; none before the first word."""
        kept: list[Unit] = []
        for unit in units:
            if unit.is_word or unit.pause_ms is not None:
                kept.append(unit)
            elif kept and kept[-1].is_word:
                kept.append(unit)
            elif kept and kept[-1].pause_ms is None and _stronger(unit, kept[-1]):
                kept[-1] = unit
        return kept

    def _require_words(self, units: list[Unit]) -> None:
        if not any(unit.is_word for unit in units):
            raise ValueError("nothing to say: the text has no English or Chinese words or numbers")


def _stronger(mark: Unit, than: Unit) -> bool:
    return _STRENGTH.index(mark.text) > _STRENGTH.index(than.text)


def validate(text: str) -> None:
    """ValueError, in words for the user, if `text` cannot be spoken at all."""
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, not {type(text).__name__}")
    if not text.strip():
        raise ValueError("the text is empty")
    if len(text) > MAX_CHARACTERS:
        limit = f"at most {MAX_CHARACTERS:,} in one piece"
        raise ValueError(f"the text has {len(text):,} characters; {limit}: cut it up")
    if _ENDLESS.search(text):
        raise ValueError("the text holds a number of 1,000 digits or more")


def _skipped(text: SpanText) -> tuple[str, ...]:
    lost = sorted(
        {c for c in _OTHER_SCRIPT.findall(text.text) if not c.isascii() and sounds_lost(c)}
    )
    if not lost:
        return ()
    return (f"left out characters of a script that is not spoken: {''.join(lost[:20])}",)


def sounds_lost(char: str) -> bool:
    """Whether a letter belongs to no language that the front end speaks."""
    return not ("\u3400" <= char <= "\u9fff" or char in "〇πμ½¼¾²³")


def _assemble(text: str, normalised: str, units: list[Unit], warnings: tuple[str, ...]) -> Phonemes:
    items: list[Phoneme] = []
    words: list[Word] = []
    for unit in units:
        index = len(words) if unit.is_word else -1
        if unit.is_word:
            words.append(Word(unit.text, unit.start, unit.end, unit.language))
        for s in unit.sounds:
            number, kind = SYMBOL_TO_ID[s.symbol], sound(s.symbol).kind
            item = Phoneme(
                s.symbol, number, index, s.start, s.end, unit.language, kind, unit.pause_ms
            )
            items.append(item)
    return Phonemes(text, normalised, tuple(items), tuple(words), warnings)
