"""One step of the GPT, recorded once and replayed: the calls between its products cost nothing then.

A token is some six hundred small calls; from Python they take a third of its time. `Recorded(gpt)` runs
the model's own step once and keeps the calls (torch.jit.trace), its weights shared, not copied: the same
kernels in the same order, so the same logits, bit for bit. The model steps as ever where somebody
watches or edits a site, and where a cache hides slots. In: a token [B] and its `KVCache`; out: logits
[B, K+1]. For models that no longer train; a recording is not saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from voxray.models.attention import KVCache
from voxray.models.graphed import GraphedStep
from voxray.sites import sites

if TYPE_CHECKING:
    from voxray.models.gpt import GPT, Block

SEEN = 40  # slots of the cache that it is recorded with; a replay has any number
WARM = 3  # replays until the interpreter has settled


class Slots:
    """A cache for the recording: each layer's keys and values end in the slot that is to be filled."""

    def __init__(self, keys: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> None:
        self.keys, self.values = keys, values  # n x [B, H, slots, D/H]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the last slot; all of them are attended to."""
        self.keys[layer][:, :, -1:].copy_(key)
        self.values[layer][:, :, -1:].copy_(value)
        return self.keys[layer], self.values[layer]


class Step(nn.Module):
    """`GPT.step_in`, with the cache as plain tensors."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt

    def forward(self, token: Tensor, place: Tensor, *buffers: Tensor) -> Tensor:
        """token [B], place [B]; the keys of all layers, then their values -> logits [B, K+1]."""
        layers = len(buffers) // 2
        slots = Slots(buffers[:layers], buffers[layers:])
        return self.gpt.step_in(token, place, None, slots)


class Recorded:
    """A model's step, ready to be replayed."""

    def __init__(self, gpt: GPT) -> None:
        self._sites = tuple(sites(gpt).values())
        self._last = gpt.audio_position.table.shape[0]
        self._step = _traced(gpt)

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        return None  # it holds the weights of the original

    def takes(self, cache: KVCache) -> bool:
        """Whether the next step can be replayed."""
        plain = cache.mask is None and not cache.ghosts and torch.is_inference_mode_enabled()
        room = cache.length - cache.text < self._last
        return plain and room and not any(site.live for site in self._sites)

    def __call__(self, token: Tensor, cache: KVCache) -> Tensor:
        """As `GPT.step`."""
        end = cache.length + 1
        cache.reserve(end)
        place = torch.full_like(token, cache.length - cache.text)
        buffers = [buffer.narrow(2, 0, end) for buffer in (*cache.keys, *cache.values)]
        logits = self._step(token, place, *buffers)
        cache.length += 1
        cache.steps += 1
        return logits


def record_step(gpt: GPT) -> bool:
    """Have a model replay its single steps, on a GPU from a CUDA graph; False where this Python or torch
    cannot record.
    """
    try:
        on_gpu = gpt.audio_embedding.weight.is_cuda
        gpt.recorded = GraphedStep(gpt) if on_gpu else Recorded(gpt)
    except RuntimeError:
        gpt.recorded = None
    return gpt.recorded is not None


@torch.inference_mode()
def _traced(gpt: GPT) -> Callable[..., Tensor]:
    config = gpt.config
    width = config.width // config.n_head
    heads = [cast("Block", block).attn.heads for block in gpt.blocks]
    buffers = [torch.zeros(1, count, SEEN, width) for count in (*heads, *heads)]
    given = (torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), *buffers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes of the layers become constants: they are
        step = cast(Callable[..., Tensor], torch.jit.trace(Step(gpt), given, check_trace=False))
    for _ in range(WARM):
        step(*given)
    return step
