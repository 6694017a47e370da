"""Text -> semantic tokens: a prefix language model (decoder-only, after VALL-E / GPT-SoVITS).

In: phone ids [B, P] and tokens [B, S]; out: logits [B, S+1, K+1], row i predicts token i and id K
ends the speech. The sequence is [text][audio]: text rows see all text of their item and no audio,
audio rows see all text and the audio before. Audio positions start again at 0. Audio rows are
A = S + 1 with a learned first position (config.bos), else A = S and row 0 is at the last phone.
Sites: embed [B, L, D], blocks.{i}.attn.{q,k,v,bias,pattern,z}, blocks.{i}.mlp, blocks.{i}.resid
[B, L, D], logits [B, rows, K+1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import GPTConfig
from voxray.models.attention import Attention, Cache, KVCache
from voxray.models.graphed import GraphedStep
from voxray.models.recorded import Recorded, RecordedRows
from voxray.models.rows import RowCache
from voxray.models.token_model import TokenModel
from voxray.sites import Site

TextBias = dict[int, Tensor]


def sinusoids(positions: int, width: int) -> Tensor:
    """Table of positions [positions, width]: sine on even, cosine on odd channels."""
    rate = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))
    angle = torch.arange(positions).float()[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


class Positions(nn.Module):
    """Sinusoidal positions times a learned scale `alpha`."""

    table: Tensor

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.register_buffer("table", sinusoids(positions, width), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        end = start + x.shape[1]
        if end > self.table.shape[0]:
            raise ValueError(
                f"sequence of {end} positions; this model holds {self.table.shape[0]}: "
                "cut the text into shorter pieces"
            )
        return x + self.alpha * self.table[start:end]

    def each(self, x: Tensor, places: Tensor) -> Tensor:
        """x [B, 1, D], row b standing at position places[b]."""
        return x + self.alpha * self.table[places][:, None]


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.activation = {"gelu": F.gelu, "relu": F.relu}[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """One layer, normalising after each sum (the published models)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attn = Attention(config.width, config.n_head, fused=True)
        self.feedforward = FeedForward(
            config.width, config.ffn_mult * config.width, config.activation
        )
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.mlp, self.resid = Site(), Site()  # [B, L, D]

    def forward(
        self, x: Tensor, mask: Tensor | None, bias: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        attended = self.attn(x, mask=mask, bias=bias, cache=cache, layer=layer)
        x = self.norm1(x + self._dropped(attended))
        x = self.norm2(x + self._dropped(self.mlp(self.feedforward(x))))
        return self.resid(x)

    def _dropped(self, x: Tensor) -> Tensor:
        return self.dropout(x) if self.training else x  # an idle call costs as much as a sum


class PreNormBlock(Block):
    """The same layer, normalising before each map: easier to train from scratch."""

    def forward(
        self, x: Tensor, mask: Tensor | None, bias: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        attended = self.attn(self.norm1(x), mask=mask, bias=bias, cache=cache, layer=layer)
        x = x + self._dropped(attended)
        x = x + self._dropped(self.mlp(self.feedforward(self.norm2(x))))
        return self.resid(x)


class GPT(TokenModel):
    """The text-to-token transformer: `forward` to train, `prefill` + `step` (or `step_rows`) to speak."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_embedding = nn.Embedding(config.text_symbols, width)
        self.audio_embedding = nn.Embedding(config.codebook_size + 1, width)
        self.text_position = Positions(config.max_positions, width)
        self.audio_position = Positions(config.max_positions, width)
        self.bos = nn.Parameter(torch.zeros(1, 1, width)) if config.bos else None
        self.context_projection = (
            nn.Linear(config.context_width, width) if config.context_width else None
        )
        block = PreNormBlock if config.pre_norm else Block
        self.blocks = nn.ModuleList(block(config) for _ in range(config.n_layer))
        for layer, heads in zip(self.blocks, config.kept_heads, strict=False):
            layer.attn.narrow(heads)
        self.final_norm = nn.LayerNorm(width) if config.pre_norm else nn.Identity()
        self.head = nn.Linear(width, config.codebook_size + 1, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.embed, self.logits = Site(), Site()  # [B, L, D], [B, rows, K+1]
        self.recorded: Recorded | GraphedStep | None = None  # its single steps, to be replayed
        self.recorded_rows: RecordedRows | None = None  # its steps of watched rows
        self.rows_stepped = 0  # steps of rows that were no replays
        self.moment = self._clock()
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
        depth = (2 * self.config.n_layer) ** -0.5  # as in GPT-2: keeps the residual sum's size
        for block in self.blocks:
            for final in (block.attn.out, block.feedforward.down):
                final.weight.data.mul_(depth)

    def forward(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor | None = None,
        context: Tensor | None = None,
        text_bias: TextBias | None = None,
    ) -> Tensor:
        """Logits [B, S+1, K+1] of all next tokens, teacher-forced; both sides padded at the right.

        `token_lengths` is not needed by a causal model (padding comes after); rows beyond an
        item's length + 1 mean nothing. `text_bias[layer]` is added to the logits of the audio
        rows [B, H, A, P + A] of that layer (broadcastable): guides heads while training.
        """
        x = self._hidden(text_ids, text_lengths, tokens, context, text_bias, None)
        rows = self._audio_rows(x, text_ids, text_lengths)  # [B, S+1, D]
        return self.logits(self.head(self.final_norm(rows)))

    def prefill(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        prompt_tokens: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[Tensor, KVCache]:
        """Read the text (and prompt tokens [B, S0]); logits [B, K+1] of the first new token."""
        if prompt_tokens is None:
            prompt_tokens = text_ids.new_zeros(text_ids.shape[0], 0)
        cache = KVCache(text=text_ids.shape[1])
        x = self._hidden(text_ids, text_lengths, prompt_tokens, context, None, cache)
        last = self._audio_rows(x, text_ids, text_lengths)[:, -1:]  # [B, 1, D]
        return self.logits(self.head(self.final_norm(last)))[:, 0], cache

    def step(self, token: Tensor, cache: KVCache) -> Tensor:
        """Feed one token [B]; logits [B, K+1] of the next. The cache grows in place."""
        start = cache.length
        self._tell(cache.steps, start, start + 1, cache.text)
        if self.recorded is not None and self.recorded.takes(cache):
            return self.recorded(token, cache)
        x = self.audio_embedding(token[:, None])  # [B, 1, D]
        x = self.embed(self.audio_position(x, start - cache.text))
        mask = cache.mask
        if mask is not None:  # audio slots are never hidden
            mask = F.pad(mask, (0, start + 1 - mask.shape[-1]), value=True)
        x = self._layers(x, mask, None, cache)
        cache.length += 1
        cache.steps += 1
        return self.logits(self.head(self.final_norm(x)))[:, 0]

    def step_rows(self, token: Tensor, rows: RowCache) -> Tensor:
        """Feed one token [B] to each row of a shared cache, whatever their lengths; logits [B, K+1].

        What `step` gives for each row alone, within float rounding. The rows stand at different
        positions, so that edits that ask for the `Moment` see none.
        """
        self._tell(-1, 0, 0, 0)
        device, mask = token.device, rows.mask()
        mask = None if mask is None else mask.to(device)
        logits = self.step_in(token, rows.places.to(device), mask, rows)
        self.rows_stepped += 1
        rows.grow()
        return logits

    def step_in(self, token: Tensor, places: Tensor, mask: Tensor | None, cache: Cache) -> Tensor:
        """One token [B] at audio positions [B] into any cache, which is not told; logits [B, K+1]."""
        x = self.audio_embedding(token[:, None])  # [B, 1, D]
        x = self.embed(self.audio_position.each(x, places))
        x = self._layers(x, mask, None, cache)
        return self.logits(self.head(self.final_norm(x)))[:, 0]

    def _hidden(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        tokens: Tensor,
        context: Tensor | None,
        text_bias: TextBias | None,
        cache: KVCache | None,
    ) -> Tensor:
        text, audio = self._embed_text(text_ids, context), self._embed_audio(tokens)
        x = self.embed(self.dropout(torch.cat([text, audio], dim=1)))  # [B, P+A, D]
        phones, length = text.shape[1], x.shape[1]
        self._tell(-1, 0, length, phones)
        mask = prefix_mask(text_lengths.to(x.device), phones, length - phones)
        biases = {i: _all_rows(bias, phones, length) for i, bias in (text_bias or {}).items()}
        x = self._layers(x, mask, biases, cache)
        if cache is not None:
            cache.length = length
            hidden = bool((text_lengths < phones).any())
            cache.mask = mask[:, :, -1:, :phones] if hidden else None
        return x

    def _layers(
        self, x: Tensor, mask: Tensor | None, biases: TextBias | None, cache: Cache | None
    ) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, mask, biases.get(i) if biases else None, cache, i)
        return x

    def _embed_text(self, text_ids: Tensor, context: Tensor | None) -> Tensor:
        x = self.text_embedding(text_ids)  # [B, P, D]
        if self.context_projection is not None:
            if context is None:
                context = x.new_zeros(*text_ids.shape, self.config.context_width)
            x = x + self.context_projection(context.to(x.dtype))
        elif context is not None:
            raise ValueError("this model takes no context features (context_width is 0)")
        return self.text_position(x)

    def _embed_audio(self, tokens: Tensor) -> Tensor:
        x = self.audio_embedding(tokens)  # [B, S, D]
        if self.bos is not None:
            x = torch.cat([self.bos.expand(x.shape[0], -1, -1), x], dim=1)  # [B, S+1, D]
        return self.audio_position(x)

    def _audio_rows(self, x: Tensor, text_ids: Tensor, text_lengths: Tensor) -> Tensor:
        """Hidden [B, P+A, D] -> the rows that predict tokens [B, S+1, D]."""
        audio = x[:, text_ids.shape[1] :]
        if self.bos is not None:
            return audio
        last = (text_lengths.to(x.device) - 1)[:, None, None].expand(-1, 1, x.shape[2])
        return torch.cat([x.gather(1, last), audio], dim=1)


def _all_rows(bias: Tensor, phones: int, length: int) -> Tensor:
    """Bias of the audio rows (broadcastable to [B, H, A, L]) -> of all rows [B, H, L, L]."""
    bias = bias.expand(*bias.shape[:-2], length - phones, length)
    return F.pad(bias, (0, 0, phones, 0))


def prefix_mask(text_lengths: Tensor, phones: int, audio: int) -> Tensor:
    """Who may look at whom, [B, 1, P+A, P+A]: all see valid text, audio also its own past."""
    length = phones + audio
    place = torch.arange(length, device=text_lengths.device)
    text = place[None, :] < text_lengths[:, None]  # [B, L] keys
    causal = (place[:, None] >= place[None, :]) & (place[None, :] >= phones)  # [L, L]
    return (text[:, None, :] | causal[None])[:, None]
