"""Keys and values of many sentences side by side: rows join and leave between two tokens.

In: caches of one sentence each (`GPT.prefill` of batch 1); out: what `GPT.step_rows` attends to. Rows
0 .. R-1 are in use, each with its own `lengths` [R]; slots behind a row's length hold zeros and are
hidden. A row is copied in when it joins, and the last row moves into the hole that one leaves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from voxray.models.attention import KVCache

SPARE = 256  # slots of room when a buffer is made
SPARE_ROWS = 3


class RowCache:
    """Explicit state, as `KVCache` is; buffers [rows, H, capacity, D/H] grow in both directions.

    Where most rows have left, the buffers shrink.
    """

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.lengths = torch.zeros(0, dtype=torch.long)  # [R] slots filled
        self.texts = torch.zeros(0, dtype=torch.long)  # [R] of them text

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Slots that the next step attends to."""
        return int(self.lengths.max()) + 1

    @property
    def places(self) -> Tensor:
        """The audio position [R] of the token that each row is fed next."""
        return self.lengths - self.texts

    def join(self, cache: KVCache) -> None:
        """Copy a sentence's cache into a new last row."""
        if cache.mask is not None or cache.ghosts or cache.keys[0].shape[0] != 1:
            raise ValueError("a row is one sentence without hidden slots")
        row = len(self)
        self._make_room(cache, row + 1, cache.length + 1)
        for ours, theirs in self._pairs(cache):
            ours[row, :, : cache.length] = theirs[0, :, : cache.length]
            ours[row, :, cache.length :] = 0.0  # nothing of who was here before
        self.lengths = torch.cat([self.lengths, torch.tensor([cache.length])])
        self.texts = torch.cat([self.texts, torch.tensor([cache.text])])

    def copy(self, row: int) -> KVCache:
        """A sentence's cache, to go on alone or to join again."""
        length, text = int(self.lengths[row]), int(self.texts[row])
        keys, values = (
            [buffer[row : row + 1, :, :length].clone() for buffer in buffers]
            for buffers in (self.keys, self.values)
        )
        return KVCache(keys, values, length, text, length - text)

    def leave(self, row: int) -> None:
        """Forget a row; the last one takes its number."""
        last = len(self) - 1
        for buffer in (*self.keys, *self.values):
            if row != last:
                buffer[row] = buffer[last]
        for counts in (self.lengths, self.texts):
            counts[row] = counts[last]
        self.lengths, self.texts = self.lengths[:last], self.texts[:last]
        if not last:
            self.keys, self.values = [], []
        elif len(self.keys[0]) > last + 2 * SPARE_ROWS:
            needed = int(self.lengths.max()) + SPARE
            self._fit(last + SPARE_ROWS, min(needed, self.keys[0].shape[2]))

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one new slot [R, H, 1, D/H] behind each row; return all [R, H, longest, D/H]."""
        end = self.longest
        for buffers, new in ((self.keys, key), (self.values, value)):
            if end > buffers[layer].shape[2]:
                buffers[layer] = _resized(buffers[layer], len(buffers[layer]), end + SPARE)
            buffers[layer][torch.arange(len(self)), :, self.lengths] = new[:, :, 0]
        return self.keys[layer][: len(self), :, :end], self.values[layer][: len(self), :, :end]

    def slots(self) -> list[Tensor]:
        """The keys of all layers, then their values, with room for one more slot each: [R, H, longest, D/H]."""
        end = self.longest
        if end > self.keys[0].shape[2]:
            self._fit(len(self.keys[0]), end + SPARE)
        return [buffer[: len(self), :, :end] for buffer in (*self.keys, *self.values)]

    def mask(self) -> Tensor | None:
        """Which slots [R, 1, 1, longest] the rows see in the step to come; None: all of them."""
        filled = self.lengths + 1
        longest = int(filled.max())
        if bool((filled == longest).all()):
            return None
        return (torch.arange(longest) < filled[:, None])[:, None, None]

    def grow(self) -> None:
        """Every row has taken in its token."""
        self.lengths = self.lengths + 1

    def _pairs(self, cache: KVCache) -> list[tuple[Tensor, Tensor]]:
        ours, theirs = (*self.keys, *self.values), (*cache.keys, *cache.values)
        return list(zip(ours, theirs, strict=True))

    def _make_room(self, cache: KVCache, rows: int, slots: int) -> None:
        """Buffers for so many rows and slots, of the shape and kind of a sentence's own."""
        if not self.keys:
            self.keys = [key.new_zeros(0, *key.shape[1:]) for key in cache.keys]
            self.values = [value.new_zeros(0, *value.shape[1:]) for value in cache.values]
        have_rows, _, have_slots, _ = self.keys[0].shape
        if rows <= have_rows and slots <= have_slots:
            return
        rows = have_rows if rows <= have_rows else rows + SPARE_ROWS
        self._fit(rows, have_slots if slots <= have_slots else slots + SPARE)

    def _fit(self, rows: int, slots: int) -> None:
        """Buffers of that size, made one by one: never all of them twice."""
        for buffers in (self.keys, self.values):
            for layer, buffer in enumerate(buffers):
                buffers[layer] = _resized(buffer, rows, slots)


def _resized(buffer: Tensor, rows: int, slots: int) -> Tensor:
    """The same content in a buffer of `rows` x `slots`, as far as it fits; zeros elsewhere."""
    made = buffer.new_zeros(rows, buffer.shape[1], slots, buffer.shape[3])
    rows, slots = min(rows, buffer.shape[0]), min(slots, buffer.shape[2])
    made[:rows, :, :slots] = buffer[:rows, :, :slots]
    return made
