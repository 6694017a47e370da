"""The user's own lexicon: a UTF-8 text file, one entry a line, that overrides every dictionary.

    # word <TAB> reading
    重庆        chong2 qing4          pinyin, one syllable a character
    Nguyen      W IH1 N               ARPAbet
    GPT-4o      = G P T four oh       spoken as other text

Word and reading are divided by a tab or by two or more spaces. English entries ignore case unless
they contain a capital.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from .controls import Controls, parse_arpabet, parse_pinyin
from .punctuation import is_han, simplified
from .spans import SpanText


@dataclass(frozen=True)
class Lexicon:
    """Parsed entries: characters to syllables, words to ARPAbet, text to other text."""

    mandarin: dict[str, list[str]] = field(default_factory=dict)
    english: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spoken: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Read a file; OSError if it cannot be read, ValueError naming the line that is wrong."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: the lexicon must be UTF-8 text") from error
        lexicon = cls(digest=hashlib.sha256("\n".join(text.splitlines()).encode()).hexdigest())
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    lexicon._add(line.strip())
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error
        return lexicon

    def _add(self, line: str) -> None:
        parts = re.split(r"\t+|\s{2,}", line, maxsplit=1)
        if len(parts) != 2:
            raise ValueError("expected a word, a tab, and its reading")
        word, reading = parts[0].strip(), parts[1].strip()
        if reading.startswith("="):
            self.spoken[word] = f" {reading[1:].strip()} "
        elif all(map(is_han, word)):
            syllables = parse_pinyin(reading)
            if len(syllables) != len(word):
                raise ValueError(f"{word} has {len(word)} characters, {len(syllables)} syllables")
            self.mandarin[simplified(word)] = syllables
        else:
            symbols = parse_arpabet(reading)
            if symbols is None:
                raise ValueError(f"{reading!r} is neither ARPAbet, nor pinyin, nor '= other text'")
            self.english[word] = symbols

    def respell(self, text: SpanText) -> SpanText:
        """Apply the `= other text` entries."""
        if not self.spoken:
            return text
        words = sorted(self.spoken, key=len, reverse=True)
        pattern = "|".join(
            (r"(?<!\w)" if w[0].isalnum() and w[0].isascii() else "")
            + re.escape(w)
            + (r"(?!\w)" if w[-1].isalnum() and w[-1].isascii() else "")
            for w in words
        )
        return text.sub(re.compile(pattern), lambda match: self.spoken[match[0]])

    def note(self, text: SpanText, controls: Controls) -> None:
        """Write the Mandarin readings into `controls`, where the user gave none inline."""
        for word, syllables in sorted(self.mandarin.items(), key=lambda entry: -len(entry[0])):
            for match in re.finditer(re.escape(word), text.text):
                starts = [text.spans[i][0] for i in range(*match.span())]
                if not any(start in controls.syllables for start in starts):
                    controls.syllables.update(zip(starts, syllables, strict=True))

    def pronounce(self, word: str) -> tuple[str, ...] | None:
        """ARPAbet of an English word, if listed."""
        return self.english.get(word) or self.english.get(word.lower())
