"""Continuous batching: the tokens of many sentences made side by side, one pass for all of them.

    pool.want(decoder, 24); pool.step(); pool.settled(decoder)

A step of the GPT costs one pass over its weights however many rows it has, so that eight sentences
cost little more than one. Decoders join before any step and leave after any: at the count of tokens
that they were wanted for, at their end, when the watch draws again, or because nobody waits any more.
Each has its own dice, options, watch and cache row: its tokens are those that it makes alone. The
text is read alone, too. One thread at a time (`Pipeline.lock`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .decoding import TokenDecoder
from .models.attention import KVCache
from .models.gpt import GPT
from .models.packed import shares_scales
from .models.recorded import RecordedRows, recorded_rows
from .models.rows import RowCache
from .models.student import Student
from .sites import attached, sites
from .watch import Watch, edits_of_rows, windows_of_rows


class TokenPool:
    """The decoders of one GPT that wait for tokens."""

    def __init__(self, gpt: GPT | Student) -> None:
        self.gpt: Any = gpt
        self.steps = 0  # passes made
        self.tokens = 0  # rows of these passes: tokens / steps is how full they were
        self._goals: dict[TokenDecoder, int | None] = {}  # in the order in which they came
        self._failed: dict[TokenDecoder, Exception] = {}
        self._rows = RowCache()
        self._members: list[TokenDecoder] = []  # of the rows
        self._apart = not isinstance(gpt, GPT) or shares_scales(gpt)
        self._sites = sites(gpt)
        self._recorded: RecordedRows | None = None

    def __len__(self) -> int:
        return len(self._goals)

    def takes(self, decoder: TokenDecoder) -> bool:
        """Whether this one may stand beside others.

        Edits and int8 would reach across rows; a `Student` keeps no rows.
        """
        return not (self._apart or decoder.options.compat or decoder.edited)

    def want(self, decoder: TokenDecoder, count: int | None) -> None:
        """Let it have `count` tokens (None: all)."""
        if not decoder.reached(count):
            self._goals[decoder] = count

    def settled(self, decoder: TokenDecoder) -> bool:
        """Whether it has what was wanted; its own failure is raised here, and nobody else's."""
        if decoder in self._goals:
            return False
        failure = self._failed.pop(decoder, None)
        if failure is not None:
            raise failure
        return True

    @torch.inference_mode()
    def leave(self, decoder: TokenDecoder) -> None:
        """Nobody waits for it any more."""
        self._goals.pop(decoder, None)
        self._failed.pop(decoder, None)
        if decoder in self._members:
            self._take_out(self._members.index(decoder))

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for everyone who waits."""
        unread = [decoder for decoder in self._goals if decoder.cache is None]
        unread = [decoder for decoder in unread if decoder not in self._members]
        for decoder in self._goals:
            if decoder.cache is not None:
                self._join(decoder, decoder.cache)
        if self._members:
            self._step_rows()
        for decoder in unread:
            self._read(decoder)

    def _join(self, decoder: TokenDecoder, cache: KVCache) -> None:
        self._recorded = recorded_rows(self.gpt)
        self._rows.join(cache)
        self._members.append(decoder)
        decoder.cache = None  # lent to the rows

    def _read(self, decoder: TokenDecoder) -> None:
        """The pass over the text, which gives the first token (or the first one drawn again)."""
        try:
            decoder.advance(len(decoder.tokens) + 1)
        except Exception as error:  # noqa: BLE001 - goes to who waits for this one
            self._fail(decoder, error)
        else:
            self._forget_if_reached(decoder)

    def _step_rows(self) -> None:
        members = list(self._members)
        watches = [decoder.watch for decoder in members]
        for watch in watches:
            if watch is not None:
                watch.feed()
        newest = torch.tensor([d.tokens[-1] for d in members], device=members[0].device)
        try:
            logits = self._logits(newest, watches)  # [R, V]
        except Exception as error:  # noqa: BLE001 - goes to everyone whose pass it was
            for row in reversed(range(len(members))):
                self._take_out(row)
                self._fail(members[row], error)
            return
        self.steps += 1
        self.tokens += len(members)
        for row in reversed(range(len(members))):  # the last row fills the hole one leaves
            self._take(row, members[row], logits[row].float().cpu())

    def _logits(self, newest: Tensor, watches: list[Watch | None]) -> Tensor:
        """One pass over all rows; from a recording of it where every row is watched and nobody looks on."""
        watched = [watch for watch in watches if watch is not None]
        recorded = self._recorded if len(watched) == len(watches) else None
        if recorded is None or not recorded.takes():
            with attached(self._sites, edits_of_rows(watches)):
                return self.gpt.step_rows(newest, self._rows)
        logits, seen = recorded(newest, self._rows, windows_of_rows(watched, self._rows.longest))
        for row, watch in enumerate(watched):
            watch.see(seen[row, :, : len(watch.words)])
        return logits

    def _take(self, row: int, decoder: TokenDecoder, logits: Tensor) -> None:
        redraws = len(decoder.redraws)
        try:
            decoder.take(logits)
        except Exception as error:  # noqa: BLE001 - goes to who waits for this one
            self._take_out(row)
            self._fail(decoder, error)
            return
        if len(decoder.redraws) > redraws:
            self._take_out(row)  # to be read again up to where it draws anew
        elif decoder.reached(self._goals[decoder]):
            if not decoder.done:
                decoder.cache = self._rows.copy(row)
            self._take_out(row)
        self._forget_if_reached(decoder)

    def _forget_if_reached(self, decoder: TokenDecoder) -> None:
        if decoder.reached(self._goals[decoder]):
            del self._goals[decoder]

    def _take_out(self, row: int) -> None:
        self._rows.leave(row)
        last = self._members.pop()
        if row < len(self._members):
            self._members[row] = last

    def _fail(self, decoder: TokenDecoder, error: Exception) -> None:
        self._failed[decoder] = error  # before it is settled: others may ask without the lock
        del self._goals[decoder]


def advance_together(decoders: Sequence[TokenDecoder], size: int) -> None:
    """Make all tokens of decoders of one GPT, `size` at a time; the longest texts first."""
    if not decoders:
        return
    pool = TokenPool(decoders[0].gpt)
    waiting = sorted((d for d in decoders if pool.takes(d)), key=lambda d: d.text_length)
    live: list[TokenDecoder] = []
    while waiting or live:
        while waiting and len(live) < size:
            live.append(waiting.pop())
            pool.want(live[-1], None)
        pool.step()
        live = [decoder for decoder in live if not pool.settled(decoder)]
