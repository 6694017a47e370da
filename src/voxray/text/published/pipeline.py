"""Text to the symbols of a published model: language by language, then one sequence.

    text --segments--> stretches --zh, en, ja, ko, yue--> units --table--> PublishedPhonemes

Fewer than six phones get a full stop before them, as in training and in the published inference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

from .. import controls
from ..controls import Controls
from ..inventory import sound
from ..phonemes import Language, Phoneme, Phonemes, Word
from ..pipeline import TextPipeline, validate
from ..spans import SpanText, join
from ..units import Sounding, Unit
from . import en, ja, ko, yue, zh
from .polyphones import model_readings
from .segments import MODES, split
from .symbols import Tongue, Version, known, number
from .zh import Readings

SHORT = 6
_CHARACTERS = frozenset(("zh", "yue"))
_HANGUL = re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")


@dataclass(frozen=True)
class Segment:
    """A stretch of one language: as written (`text[start:end]`), as read, and its phones
    `items[first:last]`. `word2ph` is the number of phones of every character of `normalised`;
    None for languages that are not read character by character."""

    language: Tongue
    start: int
    end: int
    normalised: str
    first: int
    last: int
    word2ph: tuple[int, ...] | None


@dataclass(frozen=True)
class PublishedPhonemes(Phonemes):
    """Phonemes with the segments that they come from and notes on how they were made."""

    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def word2ph(self) -> list[int] | None:
        """Phones per character of the normalised text, if every segment has them."""
        counts: list[int] = []
        for segment in self.segments:
            if segment.word2ph is None:
                return None
            counts.extend(segment.word2ph)
        return counts


class PublishedPipeline(TextPipeline):
    """Text front end for the published checkpoints.

    `version` chooses the symbol table and the Mandarin erhua rule. `polyphones` is the folder of a g2pW
    model, or a function from a clause to its pinyin syllables; without it Mandarin is read by
    pypinyin. `japanese_dictionary` is the folder of an Open JTalk dictionary.
    """

    convention = "published"

    def __init__(
        self,
        lexicon: Path | None = None,
        *,
        version: Version = "v2",
        polyphones: Path | Readings | None = None,
        japanese_dictionary: Path | None = None,
    ) -> None:
        super().__init__(lexicon)
        if version not in get_args(Version):
            raise ValueError(f"version is {version!r}; choose v1 or v2 (v2Pro, v3 and v4 use v2)")
        self.version: Version = version
        self.japanese_dictionary = japanese_dictionary
        self.readings, how = model_readings(polyphones)
        self.notes = (how,)

    def __call__(self, text: str, language: str = "auto") -> PublishedPhonemes:
        """Phonemes of `text` in a language mode of the published code (see `segments`).

        ValueError for an unknown mode or empty text; ImportError naming the extra to install where a
        language's package is missing.
        """
        validate(text)
        if language not in MODES[self.version]:
            choices = ", ".join(MODES[self.version])
            raise ValueError(f"language is {language!r}; {self.version} speaks {choices}")
        plain, fixed = controls.extract(SpanText.of(text).translate({controls.MARK: ""}))
        plain = self.lexicon.respell(plain)
        self.lexicon.note(plain, fixed)
        found = self._read(text, plain, language, fixed)
        if len(found) < SHORT:
            start = plain.spans[0][0] if plain.spans else 0
            stopped = join([SpanText(".", ((start, start),)), plain])
            found = self._read(text, stopped, language, fixed)
        return found

    def settings(self) -> dict[str, str]:
        """What was chosen when it was built; a part of the fingerprint."""
        dictionary = Path(self.japanese_dictionary or "").name
        chosen = {"version": self.version, "polyphones": self.notes[0], "japanese": dictionary}
        return {**super().settings(), **chosen}

    def speaks(self, char: str) -> bool:
        """Latin and Han, kana, and hangul from v2 on."""
        kana = "\u3041" <= char <= "\u30ff"
        return super().speaks(char) or kana or (self.version == "v2" and bool(_HANGUL.match(char)))

    def clean(self, text: str, language: Tongue) -> PublishedPhonemes:
        """The whole text in one language, without segments and without a full stop before it."""
        validate(text)
        plain, fixed = controls.extract(SpanText.of(text))
        plain = self.lexicon.respell(plain)
        self.lexicon.note(plain, fixed)
        return self._assemble(text, [(language, plain)], fixed)

    def _read(self, text: str, plain: SpanText, mode: str, fixed: Controls) -> PublishedPhonemes:
        return self._assemble(text, split(plain, mode), fixed)

    def _assemble(
        self, text: str, stretches: list[tuple[Tongue, SpanText]], fixed: Controls
    ) -> PublishedPhonemes:
        items: list[Phoneme] = []
        words: list[Word] = []
        segments: list[Segment] = []
        for tongue, stretch in stretches:
            normal, units = self._units(tongue, stretch, fixed)
            first = len(items)
            for unit in units:
                self._append(unit, items, words)
            counts = _word2ph(units) if tongue in _CHARACTERS else None
            span = stretch.span(0, len(stretch))
            segments.append(Segment(tongue, *span, normal, first, len(items), counts))
        normalised = "".join(segment.normalised for segment in segments)
        return PublishedPhonemes(
            text,
            normalised,
            tuple(items),
            tuple(words),
            self._remarks(segments),
            tuple(segments),
            self.notes,
        )

    def _remarks(self, segments: list[Segment]) -> tuple[str, ...]:
        """Mandarin of v2 was learnt in g2pW's readings: say so where it is read otherwise."""
        mandarin = any(part.language == "zh" for part in segments)
        return self.notes if mandarin and self.readings is None and self.version == "v2" else ()

    def _units(self, tongue: Tongue, text: SpanText, fixed: Controls) -> tuple[str, list[Unit]]:
        """What a stretch says after normalisation, and its words and pauses."""
        if tongue == "en":
            normal = en.normalise(text)
            return normal.text, en.convert(normal, fixed, self.lexicon)
        if tongue == "ja":
            normal = ja.normalise(text)
            return normal.text, ja.convert(normal, fixed, self.japanese_dictionary)
        if tongue == "ko":
            if self.version == "v1":  # it has no Korean and says a comma instead
                at = text.span(0, 1)[0]
                return " ", [Unit(",", at, at, "en", (Sounding(",", at, at),), is_word=False)]
            return text.text, ko.convert(text, fixed)
        if tongue == "yue":
            units = yue.convert(yue.normalise(text), fixed)
        else:
            units = zh.convert(zh.normalise(text), fixed, self.version == "v2", self.readings)
        return "".join(unit.text for unit in units), units

    def _append(self, unit: Unit, items: list[Phoneme], words: list[Word]) -> None:
        index = len(words) if unit.is_word else -1
        if unit.is_word:
            words.append(Word(unit.text, unit.start, unit.end, unit.language))
        for s in unit.sounds:
            symbol = known(s.symbol, self.version)
            language = cast(Language, unit.language)
            item = Phoneme(
                symbol,
                number(symbol, self.version),
                index,
                s.start,
                s.end,
                language,
                sound(symbol).kind,
                unit.pause_ms,
            )
            items.append(item)


def _word2ph(units: list[Unit]) -> tuple[int, ...]:
    """Two phones a character, one a mark."""
    counts: list[int] = []
    for unit in units:
        counts.extend([2] * len(unit.text) if unit.is_word else [len(unit.sounds)])
    return tuple(counts)
