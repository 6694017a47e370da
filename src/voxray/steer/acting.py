"""Edits at work on one piece: records -> functions at sites, spans of tokens, gains of samples.

`PieceEdits` is what the pipeline asks. Text positions count the phonemes of a style reference first;
step s of the GPT is the row that predicts token s. A word's tokens are those whose phoneme (by the
watch's path) belongs to it; when the GPT runs, the word being read is the one under the watch's pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..interventions import Decoding, Part, PieceIntervention, SiteEdits, SoundSpan, Wave
from ..sites import Moment
from . import functions
from .checks import PITCH_SITE, SPEAKER
from .edits import Concept, Edit, Edits, Emphasis, HeadGain, Prosody, Repetition
from .loops import looping
from .words import find_word

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..pieces import Piece
    from ..text import Phonemes

RAMP_SECONDS = 0.010
Timed = Callable[[Tensor, Moment], Tensor]
Plain = Callable[[Tensor], Tensor]


class PieceEdits(PieceIntervention):
    """The edits that concern one piece."""

    def __init__(
        self, edits: Edits, models: Bundle, phonemes: Phonemes | None, piece: Piece, first: int
    ) -> None:
        self.models = models
        self.piece = piece
        self.first = first
        self.rate = models.generator.config.sample_rate
        self._decoder: Decoding | None = None
        self._rows_before = 0
        self.last_word = next((word for word in reversed(piece.words) if word >= 0), -1)
        self.active: list[tuple[Edit, int | None]] = []  # with the word's number
        for edit in edits.edits:
            word = None if edit.word is None else find_word(phonemes, edit.word, edit.occurrence)
            if word is None or word in piece.words:
                self.active.append((edit, word))

    @property
    def needs_path(self) -> bool:  # type: ignore[override]
        """Models without guided heads must first say where their words lie."""
        by_word = any(word is not None and _sounds(edit) for edit, word in self.active)
        return by_word and not self.models.gpt.config.guided_heads

    @property
    def closing_ms(self) -> int:  # type: ignore[override]
        """A pause after the last word is a pause after the piece."""
        return self._pause_after(self.last_word)

    def follow(self, decoder: Decoding) -> None:
        """See tokens and watch while they grow."""
        self._decoder = decoder

    # the GPT

    def gpt(self, rows_before: int) -> SiteEdits:
        """All edits at the GPT's sites, one function a site."""
        self._rows_before = rows_before
        chains: dict[str, list[Timed]] = {}
        for edit, word in self.active:
            for name, function in self._gpt_functions(edit, word):
                chains.setdefault(name, []).append(function)
        return {name: functions.chained(chain) for name, chain in chains.items()}

    def _gpt_functions(self, edit: Edit, word: int | None) -> Iterator[tuple[str, Timed]]:
        if isinstance(edit, HeadGain) and edit.site.startswith("gpt."):
            rows = self._rows(word, edit.steps)
            yield edit.site[4:], functions.head_gain(edit.head, edit.gain, edit.mean, rows)
        elif isinstance(edit, Emphasis) and word is not None:
            yield from self._emphasis(edit, self._positions(word))
        elif isinstance(edit, Repetition):
            rows = self._rows(word, None) if edit.always else self._while_looping
            for layer, head in edit.heads:
                function = functions.head_gain(head, edit.gain, None, rows)
                yield f"blocks.{layer}.attn.z", function
        elif isinstance(edit, Concept) and edit.site.startswith("gpt."):
            rows = self._rows(word, None)
            yield edit.site[4:], functions.direction_rows(edit, rows)

    def _emphasis(self, edit: Emphasis, positions: list[int]) -> Iterator[tuple[str, Timed]]:
        config = self.models.gpt.config
        heads = edit.heads
        if heads is None:
            every = [(i, h) for i in range(config.n_layer) for h in range(config.n_head)]
            heads = tuple(head for head in every if head not in config.guided_heads)
        for layer in sorted({layer for layer, _ in heads}):
            mine = [head for at, head in heads if at == layer]
            weight = math.log(edit.dose)
            function = functions.column_bias(mine, config.n_head, positions, weight)
            yield f"blocks.{layer}.attn.bias", function

    def _positions(self, word: int) -> list[int]:
        return [self.first + i for i, at in enumerate(self.piece.words) if at == word]

    def _rows(self, word: int | None, steps: tuple[int, int] | None) -> functions.Rows:
        """Which rows of a pass an edit concerns; None: all of them."""
        if word is None and steps is None:
            return lambda moment: None
        low, high = steps or (0, 1 << 30)

        def rows(moment: Moment) -> list[int]:
            start = moment.text + self._rows_before
            taken = []
            for row, position in enumerate(moment.positions):
                step = position - start
                if low <= step < high and (word is None or self._read_at(step) == word):
                    taken.append(row)
            return taken

        return rows

    def _read_at(self, step: int) -> int:
        """The word under the pointer when a token was (or is) predicted."""
        watch = None if self._decoder is None else self._decoder.watch
        if watch is None or not 0 <= step < len(watch.rows):
            return -1
        return watch.words[watch.rows[step]]

    def _while_looping(self, moment: Moment) -> list[int]:
        tokens = [] if self._decoder is None else self._decoder.tokens
        if not looping(tokens):
            return []
        return [len(moment.positions) - 1]

    # the generator

    def speaker(self, vector: Tensor) -> Tensor:
        """The speaker vector [G] with the directions added to it."""
        for edit, _ in self.active:
            if isinstance(edit, Concept) and edit.site == SPEAKER:
                vector = functions.moved(vector, edit)
        return vector

    def generator(self, span: SoundSpan) -> SiteEdits:
        """All edits at the generator's sites, one function a site."""
        chains: dict[str, list[Plain]] = {}
        for edit, word in self.active:
            for name, function in self._sound_functions(edit, word, span):
                chains.setdefault(name, []).append(function)
        return {name: functions.composed(chain) for name, chain in chains.items()}

    def _sound_functions(
        self, edit: Edit, word: int | None, span: SoundSpan
    ) -> Iterator[tuple[str, Plain]]:
        mask = self._mask(word, span)
        if isinstance(edit, HeadGain) and edit.site.startswith("generator."):
            yield edit.site[10:], functions.head_gain_frames(edit, mask)
        elif isinstance(edit, Emphasis) and edit.prior and word is not None:
            columns = [i for i, at in enumerate(self.piece.words) if at == word]
            yield "prior.attn.bias", functions.column_bias_frames(columns, math.log(edit.dose))
        elif isinstance(edit, Prosody) and edit.semitones:
            ratio = edit.semitones / 12.0
            yield PITCH_SITE.removeprefix("generator."), functions.octaves(ratio, mask)
        elif isinstance(edit, Concept) and edit.site.startswith("generator."):
            yield edit.site[10:], functions.direction_frames(edit, mask)

    def _mask(self, word: int | None, span: SoundSpan) -> Tensor | None:
        """Which tokens of a run say the word, [S] 0 or 1; None: all."""
        if word is None:
            return None
        said = [self.piece.words[place] == word for place in span.path[span.start : span.stop]]
        said += [False] * (span.stop - span.start - len(said))
        return torch.tensor(said, dtype=torch.float32)

    # the samples

    def parts(self, begin: int, end: int, path: Sequence[int]) -> Iterator[Part]:
        """Cut where a word with a rate or a pause of its own begins or ends."""
        at = begin
        while at < end:
            word = self._word_of(at, path)
            until = at + 1
            while until < end and (
                self._word_of(until, path) == word or not self._cut(word, until, path)
            ):
                until += 1
            last = until == len(path) or self._word_of(until, path) != word
            rate, pause = self._manner(self._word_of(until - 1, path), last=last)
            yield Part(at, until, rate, pause)
            at = until

    def _word_of(self, token: int, path: Sequence[int]) -> int:
        return self.piece.words[path[token]] if token < len(path) else -1

    def _cut(self, word: int, token: int, path: Sequence[int]) -> bool:
        """Whether words that are said differently meet before a token."""
        here, before = self._word_of(token, path), self._word_of(token - 1, path)
        if here == before:
            return False
        rate, pause = self._manner(before, last=True)
        return pause > 0 or rate != self._manner(here, last=False)[0]

    def _manner(self, word: int, *, last: bool) -> tuple[float, int]:
        """Rate of a word, and the pause that follows if this is its end."""
        rate = 1.0
        for edit, target in self.active:
            if isinstance(edit, Prosody) and target in (None, word):
                rate *= edit.rate
        return rate, self._pause_after(word) if last and word != self.last_word else 0

    def _pause_after(self, word: int) -> int:
        return sum(
            edit.pause_ms
            for edit, target in self.active
            if isinstance(edit, Prosody) and target == word
        )

    def wave(self, samples: Wave, part: Part, path: Sequence[int]) -> Wave:
        """Louder or softer, word by word, with ramps of 10 ms."""
        gain = np.zeros(part.end - part.begin, np.float32)  # decibels of each token
        for edit, word in self.active:
            if isinstance(edit, Prosody) and edit.decibels:
                said = [word is None or self._word_of(t, path) == word
                        for t in range(part.begin, part.end)]  # fmt: skip
                gain += edit.decibels * np.array(said, np.float32)
        if not gain.any() or len(samples) == 0:
            return samples
        places = np.arange(len(samples)) * len(gain) // len(samples)
        ramp = max(1, round(2 * RAMP_SECONDS * self.rate)) | 1
        padded = np.pad(gain[places], ramp // 2, mode="edge")
        smooth = np.convolve(padded, np.full(ramp, 1.0 / ramp, np.float32), mode="valid")
        return np.clip(samples * 10 ** (smooth / 20), -1.0, 1.0).astype(np.float32)


def _sounds(edit: Edit) -> bool:
    return isinstance(edit, Prosody) or (
        isinstance(edit, (HeadGain, Concept)) and edit.site.startswith("generator.")
    )
