"""What the tests of `explain` share: one trace of the tiny system, and traces with planted attention."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from voxray.bundle import Bundle
from voxray.explain import Trace, trace
from voxray.voice import Voice

TEXT = "Hello there."
_made: dict[int, Trace] = {}


def nobody(seed: int = 1) -> Voice:
    """A voice that nobody has."""
    return Voice("nobody", torch.randn(256, generator=torch.Generator().manual_seed(seed)))


def opened(models: Bundle) -> Trace:
    """One short trace, made once a session."""
    if id(models) not in _made:
        _made[id(models)] = trace(TEXT, nobody(), model=models, seed=3, max_tokens=40)
    return _made[id(models)]


def loud(models: Bundle) -> Bundle:
    """The tiny system with a GPT whose text matters: random weights at first hardly read it."""
    twin = copy.copy(models)
    twin.gpt = copy.deepcopy(models.gpt)
    with torch.no_grad():
        for block in twin.gpt.blocks:
            block.attn.qkv.weight.mul_(10)
            block.attn.out.weight.mul_(20)
    return twin


def with_attention(made: Trace, planted: Mapping[tuple[int, int], np.ndarray]) -> Trace:
    """The same trace with the attention [S, P] of some heads put in place (mass left: on speech)."""
    part = made.passages[0]
    attention, recent = part.attention.astype(np.float32), part.recent.copy()
    earlier = part.earlier.copy()
    for at, weights in planted.items():
        attention[at], earlier[at] = weights, 0.0
        recent[at] = 1.0 - weights.sum(1)
    changed = replace(part, attention=attention, recent=recent, earlier=earlier)
    return replace(made, passages=(changed, *made.passages[1:]))
