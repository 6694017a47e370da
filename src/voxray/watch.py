"""The text-token watch: which phoneme is being said, so that no word is lost.

Some attention heads of the GPT are trained to look at the phoneme being spoken (guided heads).
Their rows over the text, [P], move a pointer that never goes back; a window around it, added to
those heads' `attn.bias`, keeps them from wandering; the end is allowed only at the last phonemes.
A phoneme held too long (stall) or words raced through (skip) is a `Fault`: draw again from there.
The window follows attention-constrained decoding (arXiv 2404.19723).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from .config import Config
from .sites import Moment, timed

SHUT = -1e4  # added to logits outside the window
PAUSE = -1  # the word index of a phoneme that belongs to no word


class WatchOptions(Config):
    """When the watch speaks up. Counts are tokens (40 ms each) unless said."""

    back: int = Field(default=1, ge=0)  # window, in phonemes
    ahead: int = Field(default=3, ge=1)
    stall: int = Field(default=32, ge=2)
    end_zone: int = Field(default=2, ge=1)  # the end is allowed on the last so many spoken phonemes
    end_patience: int = Field(default=20, ge=1)
    skipped_words: int = Field(default=2, ge=1)
    least_rate: float = Field(default=0.4, ge=0.0)  # tokens a phoneme; below, a word is skipped
    tries: int = Field(default=3, ge=0)
    step_back: int = Field(default=3, ge=0)  # a new draw starts so many tokens before the fault


@dataclass(frozen=True)
class Fault:
    """What went wrong, from which token on, and which words it concerns."""

    kind: str  # "stall" or "skip"
    token: int
    words: tuple[int, ...]


class Watch:
    """Follows one sentence. `words[p]` is the word of text position p, PAUSE for none.

    first: where the text to be said begins (after the phonemes of a style reference).
    heads: the guided heads as (layer, head).
    """

    def __init__(
        self,
        words: Sequence[int],
        heads: Sequence[tuple[int, int]],
        options: WatchOptions | None = None,
        first: int = 0,
    ) -> None:
        self.words = tuple(words)
        self.heads = tuple((layer, head) for layer, head in heads)
        self.options = options or WatchOptions()
        self.first = first
        spoken = [p for p in range(first, len(words)) if words[p] != PAUSE]
        self.last_spoken = spoken[-1] if spoken else len(words) - 1
        self._end_zone = (spoken or [self.last_spoken])[-self.options.end_zone :][0]
        self.path: list[int] = []  # phoneme of each token
        self.rows: list[int] = []  # where the window stood when token i was predicted
        self.forgiven: set[int] = set()  # words whose skipping has been given up on
        self.pointer = first
        self._seen: list[Tensor] = []

    def window(self, pointer: int) -> tuple[int, int]:
        """Text positions [low, high) that the guided heads may look at."""
        low = max(self.first, pointer - self.options.back)
        return low, min(len(self.words), pointer + self.options.ahead + 1)

    def edits(self, rows_before: int = 0) -> dict[str, Callable[..., Tensor]]:
        """The edits to attach to the GPT: the window on `attn.bias`, the eye on `attn.pattern`.

        rows_before: how many rows stand between the text and the row that predicts our token 0.
        """
        made: dict[str, Callable[..., Tensor]] = {}
        for layer in sorted({layer for layer, _ in self.heads}):
            mine = [head for at, head in self.heads if at == layer]
            made[f"blocks.{layer}.attn.bias"] = self._bias_edit(mine, rows_before)
            made[f"blocks.{layer}.attn.pattern"] = self._pattern_edit(mine)
        return made

    def _bias_edit(self, heads: list[int], rows_before: int) -> Callable[..., Tensor]:
        def edit(bias: Tensor, moment: Moment) -> Tensor:  # [B, H, Sq, Sk]
            start = moment.text + rows_before
            bias = bias.clone()
            for row, position in enumerate(moment.positions):
                if moment.text <= position and start <= position < start + len(self.rows):
                    low, high = self.window(self.rows[position - start])
                    for head in heads:  # text outside the window, and all audio
                        _shut(bias[:, head, row], low, high)
            return bias

        return timed(edit)

    def _pattern_edit(self, heads: list[int]) -> Callable[..., Tensor]:
        def edit(pattern: Tensor, moment: Moment) -> Tensor:  # [B, H, Sq, Sk]
            self.see(_rows_of(pattern[0, :, -1, : moment.text], heads))
            return pattern

        return timed(edit)

    def see(self, rows: Tensor) -> None:
        """Take in what guided heads looked at: [heads, P]."""
        self._seen.append(rows.detach().float())

    def feed(self) -> None:
        """Before the pass that predicts the next token: its window stands where the pointer is."""
        self.rows.append(self.pointer)
        self._seen.clear()

    def look(self) -> None:
        """Move the pointer by what the guided heads looked at in the last pass."""
        if self._seen:
            self.observe(torch.cat(self._seen).mean(dim=0))  # [P]
            self._seen.clear()

    def observe(self, weights: Tensor) -> None:
        """Move the pointer to the middle of the mass [P] inside the window; never back."""
        low, high = self.window(self.pointer)
        inside = weights[low:high].tolist()
        half, mass = 0.5 * sum(inside), 0.0
        if half < 0.01:  # the heads look elsewhere: they say nothing of the text
            return
        for position, weight in enumerate(inside, start=low):
            mass += weight
            if mass >= half:
                self.pointer = max(self.pointer, position)
                return

    def settle(self) -> None:
        """Give the token just drawn to the phoneme under the pointer."""
        self.path.append(self.pointer)

    @property
    def may_end(self) -> bool:
        """Whether the last phonemes are reached."""
        return self.pointer >= self._end_zone

    @property
    def must_end(self) -> bool:
        """Whether the last phoneme has been held for too long."""
        if self.pointer < self.last_spoken:
            return False
        held = sum(1 for phoneme in reversed(self.path) if phoneme >= self.last_spoken)
        return held > self.options.end_patience

    def fault(self) -> Fault | None:
        """The fault that the newest token shows, if any."""
        return self._stalled() or self._skipped()

    def _stalled(self) -> Fault | None:
        tail = self.path[-self.options.stall - 1 :]
        held = len(tail) > self.options.stall and tail[0] == tail[-1]
        if not held or self.pointer >= self.last_spoken:
            return None
        entered = self.path.index(self.pointer)
        return Fault("stall", max(0, entered - self.options.step_back), (self.words[self.pointer],))

    def _skipped(self) -> Fault | None:
        if len(self.path) < 2 or self.path[-1] == self.path[-2]:
            return None
        run = self._raced_words()
        if len(run) < self.options.skipped_words or self.forgiven.issuperset(run):
            return None
        begin = self.words.index(run[0], self.first)
        token = next(i for i, phoneme in enumerate(self.path) if phoneme >= begin)
        return Fault("skip", max(0, token - self.options.step_back), tuple(run))

    def _raced_words(self) -> list[int]:
        """The run of words, the newest finished one last, that got too few tokens."""
        run: list[int] = []
        position = self.path[-1] - 1
        current = self.words[self.path[-1]]
        while position >= self.first:
            word = self.words[position]
            begin = position
            while begin > self.first and self.words[begin - 1] == word:
                begin -= 1
            if word not in (PAUSE, current):
                tokens = sum(1 for phoneme in self.path if begin <= phoneme <= position)
                if tokens >= max(1.0, self.options.least_rate * (position - begin + 1)):
                    break
                run.insert(0, word)
            position = begin - 1
        return run

    def rewind(self, tokens: int) -> None:
        """Forget all but the first `tokens` tokens."""
        del self.path[tokens:]
        del self.rows[tokens:]
        self.pointer = self.path[-1] if self.path else self.first
        self._seen.clear()

    def nudge(self) -> None:
        """Move on by one phoneme: what is left to do about a stall after the last try."""
        self.pointer = min(self.pointer + 1, len(self.words) - 1)

    def forgive(self, fault: Fault) -> None:
        """Do not report these words' skipping again."""
        self.forgiven.update(fault.words)


def edits_of_rows(watches: Sequence[Watch | None]) -> dict[str, Callable[..., Tensor]]:
    """The edits for a pass that feeds one token to each of several sentences of one model.

    Row b belongs to watches[b] (None: unwatched): its window, and what its guided heads saw.
    """
    heads = next((watch.heads for watch in watches if watch is not None), ())
    made: dict[str, Callable[..., Tensor]] = {}
    for layer in sorted({layer for layer, _ in heads}):
        mine = [head for at, head in heads if at == layer]
        made[f"blocks.{layer}.attn.bias"] = _rows_bias_edit(watches, mine)
        made[f"blocks.{layer}.attn.pattern"] = _rows_pattern_edit(watches, mine)
    return made


def windows_of_rows(watches: Sequence[Watch], slots: int) -> Tensor:
    """What is added to the logits of each row's guided heads in the pass to come: [R, slots]."""
    shut = torch.full((len(watches), slots), SHUT)
    for row, watch in enumerate(watches):
        low, high = watch.window(watch.rows[-1])
        shut[row, low:high] = 0.0
    return shut


def _rows_bias_edit(
    watches: Sequence[Watch | None], heads: list[int]
) -> Callable[[Tensor], Tensor]:
    def edit(bias: Tensor) -> Tensor:  # [B or 1, H, 1, Sk]
        bias = bias.expand(len(watches), -1, -1, -1).clone()
        for row, watch in enumerate(watches):
            if watch is not None:
                low, high = watch.window(watch.rows[-1])
                for head in heads:
                    _shut(bias[row, head], low, high)
        return bias

    return edit


def _rows_pattern_edit(
    watches: Sequence[Watch | None], heads: list[int]
) -> Callable[[Tensor], Tensor]:
    def edit(pattern: Tensor) -> Tensor:  # [B, H, 1, Sk]
        for row, watch in enumerate(watches):
            if watch is not None:
                watch.see(_rows_of(pattern[row, :, -1, : len(watch.words)], heads))
        return pattern

    return edit


def _shut(bias: Tensor, low: int, high: int) -> None:
    """Close rows [..., Sk] outside [low, high), in place."""
    bias[..., :low].add_(SHUT)
    bias[..., high:].add_(SHUT)


def _rows_of(pattern: Tensor, heads: Sequence[int]) -> Tensor:
    """The rows of some heads of [H, P]; most layers have one, which needs no copy."""
    return pattern[heads[0] : heads[0] + 1] if len(heads) == 1 else pattern[list(heads)]
