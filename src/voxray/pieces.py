"""Text -> pieces: what the GPT says in one breath, and the pause after each.

A text is cut at sentence ends (long sentences at commas, or else between words) and at the pauses
that the user gives in milliseconds. Sentences are turned into phonemes one by one, so that a long
text starts to sound at once. Phoneme and word numbers count through the whole text. For our own
models every piece ends as a sentence does: they were trained on nothing else and lose their way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from torch import Tensor

from .text import Phoneme, Phonemes, TextPipeline, Word, split_breaths, split_sentences
from .text.inventory import sound
from .text.phonemes import Language
from .text.sentences import WRAPPED
from .text.symbols import SYMBOL_TO_ID

MAX_CHARACTERS = 50_000  # about an hour of speech
PIECE_CHARACTERS = 160  # of published models; the others count by how long it takes to say
ENDS = frozenset(".!?")  # the phonemes with which a piece ends
_IN_BRACKETS = re.compile(r"\[[^\[\]]*\]")
SILENT = "nothing to say: the text has no words that this model can read"
SENTENCE_ENDS = frozenset(".!?。！？…\n")


@dataclass(frozen=True)
class Piece:
    """What is said in one breath. `items` are indices into the whole text's phonemes."""

    items: tuple[int, ...]
    ids: tuple[int, ...]
    words: tuple[int, ...]  # word of each phoneme, -1 for a pause
    end: int  # offset in the text where the piece ends
    pause_ms: int  # silence after it
    exact: bool  # the user asked for exactly this silence
    context: Tensor | None = None  # [P, E], of models with context features

    @property
    def spoken(self) -> bool:
        """Whether there is anything to say in it."""
        return any(word >= 0 for word in self.words)


def check_text(text: object) -> str:
    """Refuse what cannot be read aloud, saying why in one line."""
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, not {type(text).__name__}")
    if not text.strip():
        raise ValueError("the text is empty")
    if "\0" in text:
        raise ValueError("the text holds NUL bytes: is it really a text file?")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"the text has {len(text)} characters; the limit is {MAX_CHARACTERS}: "
            "cut it into chapters"
        )
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates


def check_words(text: str, speaks: Callable[[str], bool]) -> None:
    """Refuse a text without a letter or digit that the front end reads, before anything is done for it."""
    letters = text + unicodedata.normalize("NFKD", text)
    if not any(char.isalnum() and speaks(char) for char in letters):
        raise ValueError(SILENT)


class Script:
    """A text on its way to speech: iterate over its pieces; `phonemes` is what has been read."""

    def __init__(
        self,
        text: str,
        pipeline: TextPipeline,
        language: str,
        pause_ms: int,
        context: Callable[[Phonemes], Tensor | None] = lambda _: None,
    ) -> None:
        self.text = check_text(text)
        self.context = context
        self.pipeline = pipeline
        self.language = language
        self.pause_ms = pause_ms
        self.items: list[Phoneme] = []
        self.words: list[Word] = []
        self.warnings: list[str] = []  # what the front end had to leave out
        self._normalised: list[str] = []

    def __iter__(self) -> Iterator[Piece]:
        if self._closes:
            spans = split_breaths(self.text)
        else:
            spans = split_sentences(self.text, PIECE_CHARACTERS, self.pipeline.speaks)
        said = False
        for begin, end in sayable(self.text, spans, self.pipeline.speaks):
            for piece in self._sentence(begin, end):
                said = said or any(word >= 0 for word in piece.words)
                yield piece
        if not said:
            raise ValueError(f"{SILENT} in language {self.language!r}" if spans else SILENT)

    @property
    def _closes(self) -> bool:
        """Whether pieces must end as sentences do; published models read text as it comes."""
        return self.pipeline.convention == "voxray"

    def phonemes(self) -> Phonemes:
        """The whole text's phonemes, as far as it has been read."""
        normalised = " ".join(self._normalised)
        notes = tuple(dict.fromkeys(self.warnings))
        return Phonemes(self.text, normalised, tuple(self.items), tuple(self.words), notes)

    def _sentence(self, begin: int, end: int) -> Iterator[Piece]:
        local = self.pipeline(self.text[begin:end], self.language)  # type: ignore[arg-type]
        if self._closes:
            local = closed(local)
        first = len(self.items)
        self._add(local, begin)
        features = self.context(local)  # [P, E]
        run: list[int] = []
        for index in range(first, len(self.items)):
            pause = self.items[index].pause_ms
            if pause is None:
                run.append(index)
                continue
            piece = self._piece(run, self.items[index].start, pause, exact=True)
            yield _with_context(piece, features, first)
            run = []
        if run:
            piece = self._piece(run, end, self._pause_at(end), exact=False)
            yield _with_context(piece, features, first)

    def _add(self, local: Phonemes, offset: int) -> None:
        before = len(self.words)
        self._normalised.append(local.normalised)
        self.warnings.extend(local.warnings)
        for word in local.words:
            self.words.append(replace(word, start=word.start + offset, end=word.end + offset))
        for item in local.items:
            word_index = item.word + before if item.word >= 0 else -1
            span = {"start": item.start + offset, "end": item.end + offset}
            self.items.append(replace(item, word=word_index, **span))

    def _piece(self, indices: list[int], end: int, pause_ms: int, *, exact: bool) -> Piece:
        items = [self.items[index] for index in indices]
        ids = tuple(item.id for item in items)
        return Piece(tuple(indices), ids, tuple(item.word for item in items), end, pause_ms, exact)

    def _pause_at(self, end: int) -> int:
        before = self.text[:end].rstrip(" \t\r\"'”’)）」』")[-1:]
        rest = self.text[end:]
        line_ends = "\n" in rest[: len(rest) - len(rest.lstrip())]
        wrapped = self._closes and WRAPPED.match(self.text, end) is not None
        at_end = before in SENTENCE_ENDS or (line_ends and not wrapped)
        return self.pause_ms if at_end else self.pause_ms // 2


def closed(phonemes: Phonemes) -> Phonemes:
    """The same phonemes with a full stop before the end and before each pause in milliseconds.

    It takes the place of a comma or dash there; behind a word it is new, its span empty. `?`, `!`
    and `.` stay.
    """
    items: list[Phoneme] = []
    for item, after in zip_longest(phonemes.items, phonemes.items[1:]):
        last = after is None or after.pause_ms is not None
        if last and item.word >= 0:
            items += [item, _stop(item.end, item.end, item.language)]
        elif last and item.pause_ms is None and item.symbol not in ENDS:
            items.append(_stop(item.start, item.end, item.language))
        else:
            items.append(item)
    return replace(phonemes, items=tuple(items))


def _stop(start: int, end: int, language: Language) -> Phoneme:
    return Phoneme(".", SYMBOL_TO_ID["."], -1, start, end, language, sound(".").kind)


def _with_context(piece: Piece, features: Tensor | None, first: int) -> Piece:
    """The piece with its rows of a sentence's features [P, E], whose first item is `first`."""
    if features is None:
        return piece
    return replace(piece, context=features[[index - first for index in piece.items]])


def _speaks(char: str) -> bool:
    return char.isascii() or "\u3400" <= char <= "\u9fff"


def sayable(
    text: str, spans: list[tuple[int, int]], speaks: Callable[[str], bool] = _speaks
) -> list[tuple[int, int]]:
    """The same spans, those without letters or digits (emoji, a lone pause) joined to others."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        last = text[slice(*joined[-1])] if joined else ""
        alone = joined and _has_sound(text[begin:end], speaks) and _has_sound(last, speaks)
        if alone or not joined:
            joined.append((begin, end))
        else:
            joined[-1] = (joined[-1][0], end)
    return joined


def _has_sound(text: str, speaks: Callable[[str], bool]) -> bool:
    plain = unicodedata.normalize("NFKC", _IN_BRACKETS.sub("", text))
    return any(c.isalnum() and speaks(c) for c in plain)
