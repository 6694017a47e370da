"""Context features: one vector per phone from a language model that has read the whole text.

A `ContextEncoder` takes the text and one character span per phone and gives [P, width].
`NullContext` gives none; `TransformerContext` uses any encoder of the transformers library (an
optional dependency): BERT-like models as the published voices use, or a sentence encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from voxray.heap import let_go
from voxray.models.packed import pack_linears

Span = tuple[int, int]


class ContextEncoder(Protocol):
    """What the text stage asks for; `width` is 0 where there are no features."""

    width: int

    def __call__(self, text: str, spans: Sequence[Span]) -> Tensor | None:
        """Features [P, width] of the phones that stem from text[start:end]; None without."""
        ...


class NullContext:
    """No context: models with context_width 0."""

    width = 0

    def __call__(self, text: str, spans: Sequence[Span]) -> Tensor | None:
        return None


class TransformerContext:
    """Hidden states of a pretrained encoder, averaged over the pieces that a span touches.

    `layer` counts from the end (-1: last, -3: as the published Mandarin features). Phones whose
    span is empty (pauses) get zeros. Long texts are read in windows of `window` pieces.
    """

    def __init__(self, model: Any, tokenizer: Any, layer: int = -1, window: int = 510) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError("context encoder: a fast tokenizer (with character offsets) is needed")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.layer, self.window = layer, window
        self.width: int = model.config.hidden_size

    @classmethod
    def load(cls, name: str, layer: int = -1, *, packed: bool = False) -> TransformerContext:
        """From a hub name or a local folder; layers behind the wanted one are not read at all. `packed`: maps
        keep their weights as fp16.
        """
        try:
            from transformers import AutoConfig, AutoModel, AutoTokenizer
        except ImportError as missing:
            raise ValueError(
                "context features need the transformers library: pip install 'voxray[gptsovits]'"
            ) from missing
        config = AutoConfig.from_pretrained(name)
        config.num_hidden_layers += layer + 1  # state 0 is the embedding
        model = AutoModel.from_pretrained(name, config=config)  # the file may be fp16
        if packed:
            pack_linears(model, "half", let_go)  # before it is widened: half the memory
        return cls(model.float(), AutoTokenizer.from_pretrained(name))

    @torch.inference_mode()
    def __call__(self, text: str, spans: Sequence[Span]) -> Tensor:
        pieces = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = pieces["input_ids"], pieces["offset_mapping"]
        if not ids:
            return torch.zeros(len(spans), self.width)
        cuts = range(0, len(ids), self.window)
        states = torch.cat([self._read(ids[i : i + self.window]) for i in cuts])  # [pieces, width]
        starts = torch.tensor([start for start, _ in offsets])
        ends = torch.tensor([end for _, end in offsets])
        places = torch.tensor(list(spans)).view(-1, 2)
        touch = (starts[None] < places[:, 1:]) & (ends[None] > places[:, :1])  # [P, pieces]
        weight = (touch & (places[:, 1:] > places[:, :1])).float()  # empty spans touch nothing
        return (weight @ states) / weight.sum(1, keepdim=True).clamp(min=1.0)  # [P, width]

    def _read(self, ids: list[int]) -> Tensor:
        head = [i for i in [self.tokenizer.cls_token_id] if i is not None]
        tail = [i for i in [self.tokenizer.sep_token_id] if i is not None]
        output = self.model(torch.tensor([head + ids + tail]), output_hidden_states=True)
        return output.hidden_states[self.layer][0, len(head) : len(head) + len(ids)].float()
