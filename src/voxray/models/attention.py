"""The one attention: self or cross, cached or not, fused or written out. Layout [B, T, D].

In: queries [B, Q, D], keys/values from the same or another sequence [B, K, E]; a boolean mask
(True: may look) and/or an additive bias, both broadcastable to [B, H, Q, K]. Out: [B, Q, D].
`Rotary` turns the first channels of the un-split queries and keys (none of it by default).
The fused kernel runs unless the `pattern` site is live or the layer has relative positions
(Shaw et al. 2018, windowed as in VITS); the written-out softmax gives the same to 1e-5.
Sites: q k v [B, H, T, D/H], bias [B or 1, H, Q, K] (mask folded in as -inf), pattern [B, H, Q, K],
z [B, Q, H, D/H].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.sites import Site


class Cache(Protocol):
    """Where attention leaves its keys and values: `KVCache`, or `models.rows.RowCache`."""

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store new rows [B, H, n, D/H] of a layer; return all to attend to."""
        ...


@dataclass
class KVCache:
    """Keys and values already computed, for all layers: explicit state, passed and returned.

    Buffers are [B, H, capacity, D/H] and double when full; `length` slots are filled. `mask`
    [B, 1, 1, K0] hides padded slots among the first K0 ones (None: nothing is hidden).
    `steps` counts the single tokens fed since the prefill, `text` the text slots. `ghosts`: single tokens
    look at so many slots, the empty ones (zeros) as well: a known defect of the published GPU decoding.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0
    text: int = 0
    steps: int = 0
    mask: Tensor | None = None
    ghosts: int = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store new [B, H, n, D/H] rows of a layer; return all rows so far."""
        end = self.length + key.shape[2]
        if layer == len(self.keys):
            self.keys.append(_room(key, end))
            self.values.append(_room(value, end))
        else:
            self._fit(layer, end)
        self.keys[layer].narrow(2, self.length, key.shape[2]).copy_(key)
        self.values[layer].narrow(2, self.length, key.shape[2]).copy_(value)
        return self._seen(self.keys[layer], end), self._seen(self.values[layer], end)

    def reserve(self, end: int) -> None:
        """Room for slots up to `end` in every layer."""
        for layer in range(len(self.keys)):
            self._fit(layer, end)

    def _fit(self, layer: int, end: int) -> None:
        if end > self.keys[layer].shape[2]:
            self.keys[layer] = _grown(self.keys[layer])
            self.values[layer] = _grown(self.values[layer])

    def _seen(self, buffer: Tensor, end: int) -> Tensor:
        missing, filled = self.ghosts - end, buffer.narrow(2, 0, end)
        return F.pad(filled, (0, 0, 0, missing)) if missing > 0 else filled

    def select(self, rows: Tensor) -> KVCache:
        """A cache of the batch items `rows` [n] only (items may be dropped or repeated)."""
        return KVCache(
            [key[rows] for key in self.keys],
            [value[rows] for value in self.values],
            self.length,
            self.text,
            self.steps,
            None if self.mask is None else self.mask[rows],
            self.ghosts,
        )


def _room(x: Tensor, used: int) -> Tensor:
    batch, heads, _, depth = x.shape
    return x.new_empty(batch, heads, used + 256, depth)


def _grown(buffer: Tensor) -> Tensor:
    return torch.cat([buffer, torch.empty_like(buffer)], dim=2)


class RelativePositions(nn.Module):
    """Learned keys and values for offsets -window..window, shared by all heads."""

    def __init__(self, window: int, depth: int) -> None:
        super().__init__()
        self.window = window
        self.key = nn.Parameter(torch.empty(2 * window + 1, depth))
        self.value = nn.Parameter(torch.empty(2 * window + 1, depth))
        for offsets in (self.key, self.value):
            nn.init.normal_(offsets, std=depth**-0.5)

    def _offsets(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        steps = torch.arange(length, device=device)
        offset = steps[None, :] - steps[:, None] + self.window  # [T, T]
        inside = (offset >= 0) & (offset <= 2 * self.window)
        return offset.clamp(0, 2 * self.window), inside

    def logits(self, query: Tensor) -> Tensor:
        """Scaled queries [B, H, T, D/H] -> what to add to the logits [B, H, T, T]."""
        batch, heads, length, _ = query.shape
        near = query @ self.key.to(query.dtype).t()  # [B, H, T, 2w+1]
        offset, inside = self._offsets(length, query.device)
        full = near.gather(3, offset.expand(batch, heads, length, length))
        return full.masked_fill(~inside, 0.0)

    def mix(self, pattern: Tensor) -> Tensor:
        """Pattern [B, H, T, T] -> the relative values' share of the output [B, H, T, D/H]."""
        length = pattern.shape[-1]
        window = self.window
        reach = torch.arange(2 * window + 1, device=pattern.device)
        rows = torch.arange(length, device=pattern.device)
        columns = (rows[:, None] + reach[None, :]).expand(*pattern.shape[:2], -1, -1)
        near = F.pad(pattern, (window, window)).gather(3, columns)  # [B, H, T, 2w+1]
        return near @ self.value.to(pattern.dtype)


class Rotary:
    """Positions 0, 1, ... as turns of channel pairs (2i, 2i + 1), base 10000 (Su et al. 2021).

    Made once per pass for `length` positions; it turns the first `width` channels of the queries
    and keys [B, T, D] before these are split into heads. A width of D/H thus reaches head 0 only.
    """

    def __init__(self, length: int, width: int, device: torch.device | None = None) -> None:
        self.width = width
        steps = torch.arange(0, width, 2, device=device).float() / width
        angle = torch.arange(length, device=device).float()[:, None] / 10000.0**steps
        self.cosine, self.sine = angle.cos(), angle.sin()  # 2 x [T, width / 2]

    def __call__(self, x: Tensor) -> Tensor:
        cosine, sine = self.cosine.to(x.dtype), self.sine.to(x.dtype)
        even, odd = x[..., : self.width : 2], x[..., 1 : self.width : 2]  # 2 x [B, T, width / 2]
        pairs = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1)
        return torch.cat([pairs.flatten(-2), x[..., self.width :]], dim=-1)


class Attention(nn.Module):
    """Multi-head attention.

    `fused` keeps query, key and value in one map `qkv` (self-attention only). `source_width`
    is the width of the other sequence. `temperature` replaces sqrt(D/H).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        fused: bool = False,
        source_width: int | None = None,
        window: int = 0,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not a multiple of {heads} heads")
        if fused and source_width is not None:
            raise ValueError("a fused query/key/value map is for self-attention only")
        self.heads = heads
        self.scale = 1.0 / (temperature or (width // heads) ** 0.5)
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(source_width or width, width)
            self.value = nn.Linear(source_width or width, width)
        self.fused = fused
        self.out = nn.Linear(width, width)
        self.relative = RelativePositions(window, width // heads) if window else None
        self.q, self.k, self.v = Site(), Site(), Site()  # [B, H, T, D/H]
        self.bias, self.pattern = Site(), Site()  # [B or 1, H, Q, K], [B, H, Q, K]
        self.z = Site()  # [B, Q, H, D/H]

    def narrow(self, heads: int) -> None:
        """Room for fewer heads of the same depth (fused maps only): what a pruned model holds."""
        if not self.fused or not 1 <= heads <= self.heads:
            raise ValueError(f"cannot leave {heads} of {self.heads} heads")
        width = self.qkv.in_features
        inner = width // self.heads * heads
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.heads = heads

    def forward(
        self,
        x: Tensor,
        source: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
        rotary: Rotary | None = None,
    ) -> Tensor:
        """Attend from x [B, Q, D] to source (default x); `cache` holds earlier keys of `layer`."""
        query, key, value = self._project(x, x if source is None else source, rotary)
        query, key, value = self.q(query), self.k(key), self.v(value)  # [B, H, T, D/H]
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        bias = self._bias(query, key, mask, bias)
        if self.relative is None and not self.pattern.live:
            mixed = F.scaled_dot_product_attention(query, key, value, bias, scale=self.scale)
        else:
            mixed = self._written_out(query, key, value, bias)
        z = self.z(mixed.transpose(1, 2))  # [B, Q, H, D/H]
        return self.out(z.flatten(2))

    def _project(
        self, x: Tensor, source: Tensor, rotary: Rotary | None = None
    ) -> tuple[Tensor, ...]:
        if self.fused:
            if rotary is not None:
                raise ValueError("rotary positions want separate query and key maps")
            qkv = self.qkv(x)
            qkv = qkv.view(*qkv.shape[:2], 3, self.heads, -1)  # [B, T, 3, H, D/H]
            return qkv.permute(2, 0, 3, 1, 4).unbind(0)  # 3 x [B, H, T, D/H]
        query, key, value = self.query(x), self.key(source), self.value(source)  # 3 x [B, T, D]
        if rotary is not None:
            query, key = rotary(query), rotary(key)
        maps = (query, key, value)
        return tuple(m.unflatten(2, (self.heads, -1)).transpose(1, 2) for m in maps)

    def _bias(
        self, query: Tensor, key: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> Tensor | None:
        """Fold mask and bias into one; a plain mask stays boolean unless the site is live."""
        if bias is None and not self.bias.live:
            return mask
        if bias is None:
            bias = query.new_zeros(())
        if mask is not None:
            bias = bias.masked_fill(~mask, float("-inf"))
        if self.bias.live:
            batch = bias.shape[0] if bias.dim() == 4 else 1
            bias = bias.expand(batch, self.heads, query.shape[2], key.shape[2])
        return self.bias(bias).to(query.dtype)

    def _written_out(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
    ) -> Tensor:
        query = query * self.scale
        logits = query @ key.transpose(2, 3)  # [B, H, Q, K]
        if self.relative is not None:
            logits = logits + self.relative.logits(query)
        if bias is not None and bias.dtype == torch.bool:
            logits = logits.masked_fill(~bias, float("-inf"))
        elif bias is not None:
            logits = logits + bias
        pattern = self.pattern(logits.float().softmax(-1)).to(value.dtype)  # [B, H, Q, K]
        mixed = pattern @ value
        if self.relative is not None:
            mixed = mixed + self.relative.mix(pattern)
        return mixed  # [B, H, Q, D/H]
