"""The small text-to-token model that a GPT teaches: several times the tokens a second on a CPU.

In: phone ids [B, P] and tokens [B, S]; out: logits [B, S+1, K+1], as of `GPT`, and called alike. A
bidirectional LSTM reads the phonemes; an LSTM over the tokens asks, one attention head answers with what is
to be said (the watch follows and guides that head, as it does the GPT's), a second LSTM decides
(Hochreiter and Schmidhuber 1997; attention as in Bahdanau et al. 2015, dot products instead).
Sites: embed [B, P, D], blocks.0.attn.bias, blocks.0.attn.pattern [B, 1, A, P], blocks.0.resid [B, A, D], logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from voxray.config import StudentConfig
from voxray.models.token_model import TokenModel
from voxray.sites import Site

State = tuple[Tensor, Tensor]


@dataclass
class StudentCache:
    """What a step needs: the text [B, P, D] as keys and values, its mask, the LSTMs' states."""

    keys: Tensor
    values: Tensor
    mask: Tensor  # [B, 1, 1, P], true where there is text
    asking: State
    deciding: State
    length: int  # text and audio rows so far
    steps: int = 0

    @property
    def text(self) -> int:
        """Text positions."""
        return self.keys.shape[1]


class TextHead(nn.Module):
    """One attention head from audio rows to the text."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(text_width, width)
        self.value = nn.Linear(text_width, width)
        self.scale = 1.0 / math.sqrt(width)
        self.bias, self.pattern = Site(), Site()  # [B, 1, A, P]

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Rows x [B, A, D] over keys and values [B, P, D] -> what was read [B, A, D]."""
        logits = (self.query(x) @ keys.transpose(1, 2))[:, None] * self.scale  # [B, 1, A, P]
        added = torch.zeros_like(logits) if bias is None else bias
        added = self.bias(added.masked_fill(~mask, float("-inf")))
        pattern = self.pattern((logits + added).float().softmax(-1))
        return pattern[:, 0].to(values.dtype) @ values


def run_lstm(lstm: nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """One layer over rows x [B, A, D]. A single row goes through the bare cell: oneDNN packs the weights anew on
    every call of `nn.LSTM`, five times the cost of the product itself.
    """
    if x.shape[1] > 1 or x.device.type != "cpu" or torch.onnx.is_in_onnx_export():
        return lstm(x, state)
    hidden, cell = torch.lstm_cell(
        x[:, 0], (state[0][0], state[1][0]), lstm.weight_ih_l0, lstm.weight_hh_l0,
        lstm.bias_ih_l0, lstm.bias_hh_l0,
    )  # fmt: skip
    return hidden[:, None], (hidden[None], cell[None])


class StudentBlock(nn.Module):
    """Ask (LSTM), read (attention), decide (LSTM)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.ask = nn.LSTM(width, width, batch_first=True)
        self.attn = TextHead(width, 2 * config.text_width)
        self.decide = nn.LSTM(2 * width, width, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.resid = Site()  # [B, A, D]

    def forward(
        self, x: Tensor, cache: StudentCache, bias: Tensor | None
    ) -> tuple[Tensor, State, State]:
        """Token embeddings [B, A, D] -> rows [B, A, D] and both states."""
        asked, asking = run_lstm(self.ask, x, cache.asking)
        read = self.attn(asked, cache.keys, cache.values, cache.mask, bias)
        heard = self.dropout(torch.cat([asked, read], dim=2))
        made, deciding = run_lstm(self.decide, heard, cache.deciding)
        return self.resid(made + read), asking, deciding


class Student(TokenModel):
    """`forward` to train, `prefill` + `step` to speak."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_embedding = nn.Embedding(config.text_symbols, width)
        self.reader = nn.LSTM(width, config.text_width, batch_first=True, bidirectional=True)
        self.audio_embedding = nn.Embedding(config.codebook_size + 1, width)
        self.bos = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList([StudentBlock(config)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codebook_size + 1, bias=False)
        self.embed, self.logits = Site(), Site()  # [B, P, D], [B, rows, K+1]
        self.moment = self._clock()

    def read(self, text_ids: Tensor, text_lengths: Tensor) -> StudentCache:
        """Phonemes [B, P] -> a cache at the beginning of speech."""
        x = self.embed(self.text_embedding(text_ids))  # [B, P, D]
        if bool((text_lengths == text_ids.shape[1]).all()):
            x, _ = self.reader(x)
        else:
            packed = pack_padded_sequence(
                x, text_lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            x, _ = pad_packed_sequence(
                self.reader(packed)[0], batch_first=True, total_length=text_ids.shape[1]
            )
        head = self.blocks[0].attn
        zero = x.new_zeros(1, x.shape[0], self.config.width)
        place = torch.arange(text_ids.shape[1], device=text_ids.device)
        mask = (place[None] < text_lengths.to(place.device)[:, None])[:, None, None]
        return StudentCache(
            head.key(x), head.value(x), mask, (zero, zero), (zero, zero), text_ids.shape[1]
        )

    def forward(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor | None = None,
        context: Tensor | None = None,
        text_bias: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits [B, S+1, K+1], teacher-forced; `text_bias[0]` [B, 1, S+1, >= P] guides the head."""
        cache = self.read(text_ids, text_lengths)
        bias = (text_bias or {}).get(0)
        return self._rows(tokens, cache, None if bias is None else bias[..., : cache.text])

    def prefill(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        prompt_tokens: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[Tensor, StudentCache]:
        """Read the text (and prompt tokens [B, S0]); logits [B, K+1] of the first new token."""
        if prompt_tokens is None:
            prompt_tokens = text_ids.new_zeros(text_ids.shape[0], 0)
        cache = self.read(text_ids, text_lengths)
        return self._rows(prompt_tokens, cache, None)[:, -1], cache

    def step(self, token: Tensor, cache: StudentCache) -> Tensor:
        """Feed one token [B]; logits [B, K+1] of the next."""
        self._tell(cache.steps, cache.length, cache.length + 1, cache.text)
        logits = self._run(self.audio_embedding(token[:, None]), cache, None)
        cache.steps += 1
        return logits[:, 0]

    def _rows(self, tokens: Tensor, cache: StudentCache, bias: Tensor | None) -> Tensor:
        x = self.audio_embedding(tokens)  # [B, S, D]
        x = torch.cat([self.bos.expand(x.shape[0], -1, -1), x], dim=1)  # [B, S+1, D]
        self._tell(-1, cache.length, cache.length + x.shape[1], cache.text)
        return self._run(x, cache, bias)

    def _run(self, x: Tensor, cache: StudentCache, bias: Tensor | None) -> Tensor:
        made, cache.asking, cache.deciding = self.blocks[0](x, cache, bias)
        cache.length += x.shape[1]
        return self.logits(self.head(self.norm(made)))
