"""Context encoders: spans become vectors; no library and no network is needed for the contract."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from voxray.models.context import NullContext, TransformerContext


class Letters:
    """A fast tokenizer of single characters; 0 and 1 are its special ids."""

    is_fast = True
    cls_token_id, sep_token_id = 0, 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[Any]]:
        places = [i for i, letter in enumerate(text) if letter != " "]
        return {
            "input_ids": [ord(text[i]) for i in places],
            "offset_mapping": [(i, i + 1) for i in places],
        }


class Echo(nn.Module):
    """Hidden state = the id itself, so that averages can be read off."""

    config = SimpleNamespace(hidden_size=2)

    def forward(self, ids: torch.Tensor, output_hidden_states: bool) -> SimpleNamespace:
        assert ids[0, 0] == 0 and ids[0, -1] == 1 and output_hidden_states
        state = ids[..., None].float().expand(-1, -1, 2)
        return SimpleNamespace(hidden_states=(state * 0, state))


def test_spans_are_averaged_and_pauses_are_zero() -> None:
    context = TransformerContext(Echo(), Letters(), window=3)
    features = context("ab cde", [(0, 1), (0, 2), (2, 3), (2, 2), (5, 6)])
    a, b, e = ord("a"), ord("b"), ord("e")
    assert features[:, 0].tolist() == [a, (a + b) / 2, 0, 0, e]
    assert features.shape == (5, 2) and context.width == 2
    assert context("  ", [(0, 1)]).tolist() == [[0, 0]]


def test_no_context() -> None:
    assert NullContext()("text", [(0, 4)]) is None and NullContext.width == 0


def test_slow_tokenizers_are_refused() -> None:
    with pytest.raises(ValueError, match="fast tokenizer"):
        TransformerContext(Echo(), SimpleNamespace(is_fast=False))
