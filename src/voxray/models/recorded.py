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
from functools import cache
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from voxray.models.attention import KVCache
from voxray.models.graphed import GraphedStep
from voxray.models.rows import RowCache
from voxray.sites import attach, sites

if TYPE_CHECKING:
    from voxray.models.gpt import GPT, Block

SEEN = 40  # slots of the cache that it is recorded with; a replay has any number
WORTH = 90  # steps of rows that cost as much more as a recording does: only who goes on makes one
ANYWHERE = torch.ones(1, 1, 1, 1, dtype=torch.bool)  # a mask that nobody reads
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


class Rows(nn.Module):
    """`GPT.step_rows` of watched rows, with everything that it is told as plain tensors."""

    def __init__(self, gpt: GPT, masked: bool) -> None:
        super().__init__()
        self.gpt, self.masked = gpt, masked
        self.heads = tuple(gpt.config.guided_heads)

    def forward(
        self,
        token: Tensor,
        places: Tensor,
        lengths: Tensor,
        shut: Tensor,
        mask: Tensor,
        *buffers: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """token, places, lengths [R]; what guided heads are kept from, `shut` [R, 1, 1, S], and which slots
        rows see, `mask` [R, 1, 1, S]; the keys of all layers, then their values [R, H, S, D/H] -> logits [R, K+1] and what the
        guided heads looked at [R, heads, S].
        """
        layers = len(buffers) // 2
        slots = RowSlots(lengths, buffers[:layers], buffers[layers:])
        seen: list[Tensor] = []
        with attach(self.gpt, self._edits(shut, seen)):
            logits = self.gpt.step_in(token, places, mask if self.masked else None, slots)
        return logits, torch.cat(seen, dim=1)

    def _edits(self, shut: Tensor, seen: list[Tensor]) -> dict[str, Callable[..., Tensor]]:
        made: dict[str, Callable[..., Tensor]] = {}
        for layer in sorted({layer for layer, _ in self.heads}):
            mine = [head for at, head in self.heads if at == layer]
            block = cast("Block", self.gpt.blocks[layer])
            chosen = torch.zeros(1, block.attn.heads, 1, 1)
            chosen[:, mine] = 1.0

            def kept_out(bias: Tensor, chosen: Tensor = chosen) -> Tensor:
                return bias + chosen * shut

            def look(pattern: Tensor, mine: list[int] = mine) -> Tensor:
                seen.append(pattern[:, mine, -1])  # [R, heads, S]
                return pattern

            made[f"blocks.{layer}.attn.bias"] = kept_out
            made[f"blocks.{layer}.attn.pattern"] = look
        return made


class RowSlots:
    """A cache of rows for the recording: each row's new key and value go where it ends."""

    def __init__(
        self, lengths: Tensor, keys: tuple[Tensor, ...], values: tuple[Tensor, ...]
    ) -> None:
        self.lengths, self.keys, self.values = lengths, keys, values

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Fill a slot of each row; all of them are attended to, as far as the mask lets."""
        place = self.lengths[:, None, None, None].expand_as(key)  # [R, H, 1, D/H]
        self.keys[layer].scatter_(2, place, key)
        self.values[layer].scatter_(2, place, value)
        return self.keys[layer], self.values[layer]


class RecordedRows:
    """A model's step of watched rows, ready to be replayed: any number of rows, of any lengths.

    Recorded when first asked for. Whoever changes the weights afterwards leaves it behind: `fits` is asked
    before rows are stepped, `takes` before every step.
    """

    def __init__(self, gpt: GPT) -> None:
        self._gpt = gpt
        self._sites = tuple(sites(gpt).values())
        self._weights = tuple(gpt.parameters())
        self._versions = tuple(weight._version for weight in self._weights)
        self._steps: dict[bool, Callable[..., tuple[Tensor, Tensor]]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        return None

    def fits(self) -> bool:
        """Whether the model's weights are still those that were recorded, and do not learn."""
        now = tuple(self._gpt.parameters())
        same = len(now) == len(self._weights)
        same = same and all(p is q for p, q in zip(now, self._weights, strict=True))
        return same and self._unwritten and not self._gpt.training

    @property
    def _unwritten(self) -> bool:
        return all(p._version == v for p, v in zip(self._weights, self._versions, strict=True))

    def takes(self) -> bool:
        """Whether nobody watches or edits a site, and no weight was written to."""
        if not torch.is_inference_mode_enabled() or any(site.live for site in self._sites):
            return False
        return self._unwritten

    def __call__(self, token: Tensor, rows: RowCache, shut: Tensor) -> tuple[Tensor, Tensor]:
        """token [R], what guided heads are kept from [R, S] -> logits [R, K+1], what they saw [R, heads, S]."""
        mask = rows.mask()
        masked = mask is not None
        if masked not in self._steps:
            self._steps[masked] = _traced_rows(self._gpt, masked)
        seen = ANYWHERE if mask is None else mask
        made = self._steps[masked](
            token, rows.places, rows.lengths, shut[:, None, None], seen, *rows.slots()
        )
        rows.grow()
        return made


def recorded_rows(gpt: GPT) -> RecordedRows | None:
    """The recording of a model's watched rows as it is now, made where there is none that fits once it is worth its
    time; None before, and where this Python, torch or model has none: on a GPU, without guided heads, while it learns,
    with weights that do not say when they are written to.
    """
    known = gpt.recorded_rows
    if known is None or not known.fits():
        weights = list(gpt.parameters())
        plain = all(w.device.type == "cpu" and not w.is_inference() for w in weights)
        plain = plain and gpt.audio_embedding.weight.dtype == torch.float32 and not gpt.training
        wanted = bool(gpt.config.guided_heads) and gpt.rows_stepped >= WORTH
        gpt.recorded_rows = RecordedRows(gpt) if plain and wanted and _can_trace() else None
    return gpt.recorded_rows


@cache
def _can_trace() -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(nn.Identity(), torch.zeros(1), check_trace=False)
    except RuntimeError:
        return False
    return True


@torch.inference_mode()
def _traced_rows(gpt: GPT, masked: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    width = gpt.config.width // gpt.config.n_head
    heads = [cast("Block", block).attn.heads for block in gpt.blocks]
    buffers = [torch.zeros(2, count, SEEN, width) for count in (*heads, *heads)]
    lengths = torch.tensor([SEEN - 1, SEEN - 3])
    mask = (torch.arange(SEEN) <= lengths[:, None])[:, None, None]
    given = (torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), lengths,
             torch.zeros(2, 1, 1, SEEN), mask, *buffers)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.jit.trace(Rows(gpt, masked), given, check_trace=False)
    for _ in range(WARM):
        step(*given)
    return cast(Callable[..., "tuple[Tensor, Tensor]"], step)
