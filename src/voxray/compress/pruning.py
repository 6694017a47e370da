"""Take heads and layers out of a GPT for good: a smaller model, not a masked one.

In: a bundle and what is to go. Out: a new bundle whose GPT has fewer heads (each of the same depth) or
fewer layers; the guided heads keep their part under their new numbers. The kept weights are untouched, so
a pruned model says exactly what the whole one says with those heads' outputs set to zero or, where their means are
known, to these: what a head always says goes into the bias of its layer's output map (as An et al. 2024, FLAP,
arXiv 2312.11983, section 3.3, does for channels).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..bundle import Bundle
from ..models.gpt import GPT
from .ranking import Head

Means = Mapping[Head, Sequence[float]]  # of a head's output [D/H], over texts and steps


def prune(
    gpt: GPT, heads: Sequence[Head] = (), layers: Sequence[int] = (), means: Means | None = None
) -> GPT:  # fmt: skip
    """A GPT without these heads and layers; ValueError where the watch needs one of them."""
    config = gpt.config
    gone = set(heads)
    _check(gpt, gone, set(layers))
    kept_layers = [n for n in range(len(gpt.blocks)) if n not in layers]
    kept = {
        n: [h for h in range(gpt.blocks[n].attn.heads) if (n, h) not in gone] for n in kept_layers
    }
    guided = tuple(
        (kept_layers.index(layer), kept[layer].index(head)) for layer, head in config.guided_heads
    )
    smaller = config.model_copy(
        update={
            "n_layer": len(kept_layers),
            "kept_heads": tuple(len(kept[n]) for n in kept_layers),
            "guided_heads": guided,
        }
    )
    made = GPT(smaller)
    state = {k: v for k, v in gpt.state_dict().items() if not k.startswith("blocks.")}
    for place, n in enumerate(kept_layers):
        for name, value in gpt.blocks[n].state_dict().items():
            state[f"blocks.{place}.{name}"] = _cut(name, value, kept[n], gpt.blocks[n].attn.heads)
        constant = _constant(gpt, n, gone, means or {})
        state[f"blocks.{place}.attn.out.bias"] = gpt.blocks[n].attn.out.bias.detach() + constant
    made.load_state_dict(state)
    return made.train(gpt.training)


def _check(gpt: GPT, heads: set[Head], layers: set[int]) -> None:
    for layer, head in gpt.config.guided_heads:
        if (layer, head) in heads or layer in layers:
            raise ValueError(f"head {head} of layer {layer} guides the watch: it cannot go")
    for n, block in enumerate(gpt.blocks):
        if n not in layers and all((n, h) in heads for h in range(block.attn.heads)):
            raise ValueError(f"no head would be left in layer {n}: take the layer out instead")


def _cut(name: str, value: Tensor, kept: list[int], heads: int) -> Tensor:
    """The part of a block's tensor that belongs to the kept heads."""
    if name in ("attn.qkv.weight", "attn.qkv.bias"):
        rows = value.unflatten(0, (3, heads, -1))[:, kept]  # [3, H', D/H, ..]
        return rows.flatten(0, 2).clone()
    if name == "attn.out.weight":
        return value.unflatten(1, (heads, -1))[:, kept].flatten(1).clone()
    return value.clone()


def _constant(gpt: GPT, layer: int, heads: Collection[Head], means: Means) -> Tensor:
    """What heads of a layer that are set to their means add to it: [D]."""
    attn = gpt.blocks[layer].attn
    given = torch.zeros(attn.heads, attn.out.in_features // attn.heads)
    for at, head in heads:
        if at == layer and (at, head) in means:
            given[head] = torch.tensor(means[at, head])
    return attn.out.weight.detach() @ given.flatten()


def pruned(
    bundle: Bundle, heads: Sequence[Head] = (), layers: Sequence[int] = (), name: str = "",
    means: Means | None = None,
) -> Bundle:  # fmt: skip
    """The same bundle around a pruned GPT."""
    gpt = prune(bundle.gpt, heads, layers, means)
    config = bundle.config.model_copy(
        update={
            "gpt": gpt.config,
            "name": name or f"{bundle.name}-pruned",
            "voices": bundle.hears_as,
        }
    )
    return replace(bundle, config=config, gpt=gpt)


def share_gone(before: GPT, after: GPT) -> float:
    """Share of heads that are gone, those of removed layers included."""
    count = [sum(block.attn.heads for block in gpt.blocks) for gpt in (before, after)]
    return 1.0 - count[1] / count[0]


def parameters(model: torch.nn.Module) -> int:
    """How many numbers a model holds."""
    return sum(p.numel() for p in model.parameters())


def without(bundle: Bundle, heads: Sequence[Head], means: Means | None = None) -> Bundle:
    """A copy whose heads give nothing (their output map is zero) or their means: what pruning must equal."""
    masked = copy.deepcopy(bundle.gpt)
    with torch.no_grad():
        for layer in range(len(masked.blocks)):
            masked.blocks[layer].attn.out.bias += _constant(masked, layer, heads, means or {})
        for layer, head in heads:
            attn = masked.blocks[layer].attn
            depth = attn.out.in_features // attn.heads
            attn.out.weight[:, head * depth : (head + 1) * depth] = 0.0
    return replace(bundle, gpt=masked)
