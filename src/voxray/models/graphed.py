"""The masked step: one token into a cache of fixed size, on a GPU recorded as a CUDA graph and replayed.

A graph replays the same kernels on the same memory, so nothing may change its shape: the cache has all its
slots from the start, and a mask hides those that hold nothing yet (the published code looks at them, too).
`GraphedStep(gpt)` is called as `GPT.step` is, in: a token [1] and the `KVCache` of one sentence; out: logits
[1, K+1]. On a CPU it takes the same masked step without a graph. It computes what `GPT.step` does, in another
order of sums: the same tokens, logits within float rounding. `GPT.step` itself goes on where somebody watches
or edits a site, where a cache hides slots, and beyond the last slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from voxray.models.attention import KVCache
from voxray.sites import sites

if TYPE_CHECKING:
    from voxray.models.gpt import GPT, Block

SLOTS = 2048  # text, prompt and speech of one sentence
WARM = 3  # steps before a capture: libraries choose their kernels in them


class FixedCache:
    """All slots of all layers [1, H, slots, D/H]; `slot` [1] is the one that the next token fills."""

    def __init__(self, gpt: GPT, slots: int) -> None:
        like = gpt.audio_embedding.weight
        depth = gpt.config.width // gpt.config.n_head
        shapes = [(1, cast("Block", block).attn.heads, slots, depth) for block in gpt.blocks]
        self.keys, self.values = ([like.new_zeros(shape) for shape in shapes] for _ in range(2))
        self.slot = torch.zeros(1, dtype=torch.long, device=like.device)
        self.numbers = torch.arange(slots, device=like.device)

    @property
    def mask(self) -> Tensor:
        """Which slots hold something once the next is filled, [1, 1, 1, slots]."""
        return (self.numbers <= self.slot)[None, None, None]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the slot; all slots are returned, so attend through `mask`."""
        self.keys[layer].index_copy_(2, self.slot, key)
        self.values[layer].index_copy_(2, self.slot, value)
        return self.keys[layer], self.values[layer]

    def take(self, cache: KVCache) -> None:
        """Hold what a sentence has read, and nothing of who was here before."""
        for ours, theirs in self._pairs(cache):
            ours.zero_()
            ours[:, :, : cache.length] = theirs[:, :, : cache.length]

    def give(self, cache: KVCache) -> None:
        """Write all that was read into the sentence's own cache."""
        cache.reserve(cache.length)
        for ours, theirs in self._pairs(cache):
            theirs[:, :, : cache.length] = ours[:, :, : cache.length]

    def _pairs(self, cache: KVCache) -> list[tuple[Tensor, Tensor]]:
        ours, theirs = (*self.keys, *self.values), (*cache.keys, *cache.values)
        return list(zip(ours, theirs, strict=True))


class GraphedStep:
    """A model's masked step, ready to be replayed; it holds the keys of one sentence at a time."""

    def __init__(self, gpt: GPT, slots: int = SLOTS) -> None:
        self.gpt, self.slots = gpt, slots
        self.cache = FixedCache(gpt, slots)
        self.token, self.place = (torch.zeros_like(self.cache.slot) for _ in range(2))
        self._sites = tuple(sites(gpt).values())
        self._last = gpt.audio_position.table.shape[0]
        self._held: KVCache | None = None  # whose keys the slots hold
        self._replay = self._recorded() if self.token.is_cuda else None

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        return None  # it holds the weights of the original

    @property
    def graphed(self) -> bool:
        """Whether steps are replayed from a graph (on a GPU) or called one by one."""
        return self._replay is not None

    def takes(self, cache: KVCache) -> bool:
        """Whether the next step can be replayed; a sentence that cannot go on here gets its keys back."""
        plain = cache.mask is None and not cache.ghosts and cache.keys[0].shape[0] == 1
        room = cache.length < self.slots and cache.length - cache.text < self._last
        fit = plain and room and torch.is_inference_mode_enabled()
        fit = fit and not any(site.live for site in self._sites)
        if not fit and cache is self._held:
            self.release()
        return fit

    def release(self) -> None:
        """Give the sentence that is held its keys back, so that it can go on elsewhere."""
        if self._held is not None:
            self.cache.give(self._held)
            self._held = None

    def __call__(self, token: Tensor, cache: KVCache) -> Tensor:
        """As `GPT.step`; until `release` the newest keys lie here and not in `cache`."""
        if cache is not self._held:
            self.release()
            self.cache.take(cache)
            self._held = cache
        self.token.copy_(token)
        self.place.fill_(cache.length - cache.text)
        self.cache.slot.fill_(cache.length)
        logits = self._step() if self._replay is None else self._replay()
        cache.length += 1
        cache.steps += 1
        return logits

    def _step(self) -> Tensor:
        return self.gpt.step_in(self.token, self.place, self.cache.mask, self.cache)

    @torch.inference_mode()
    def _recorded(self) -> Callable[[], Tensor]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._step()

        def replay() -> Tensor:
            graph.replay()
            return logits.clone()

        return replay
