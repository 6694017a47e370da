"""What is every head of a GPT worth? Orders to prune by, as numbers that can be kept in a JSON file.

`effect` (what mean-ablating a head costs, or any table of an explanation: critical paths), `gradient` (mean
|z . dL/dz|, Michel et al. 2019, arXiv 1905.10650), `magnitude` (norm of the head's weights) and `random`.
In: a GPT and, for some, batches of training rows. Out: a `Ranking`, scores [L][H], the higher the dearer.
Guided heads are never given up: the watch reads the alignment off them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..models.gpt import GPT
from ..sites import attach
from ..train.run import Say, silent

Head = tuple[int, int]
Loss = Callable[[GPT, list[Tensor]], Tensor]


@dataclass(frozen=True)
class Ranking:
    """Scores of all heads by (layer, head), and what each says in the mean [D/H], where that was measured."""

    by: str
    scores: dict[Head, float]
    means: dict[Head, list[float]] = field(default_factory=dict)

    def worst(self, count: int, spared: Sequence[Head] = ()) -> list[Head]:
        """The `count` heads that are worth least, none of them spared, one at least left in each layer."""
        left: dict[int, int] = {}
        for layer, _ in self.scores:
            left[layer] = left.get(layer, 0) + 1
        chosen: list[Head] = []
        for head in sorted(self.scores, key=lambda at: (self.scores[at], at)):
            if len(chosen) == count:
                break
            if head in spared or left[head[0]] == 1:
                continue
            chosen.append(head)
            left[head[0]] -= 1
        if len(chosen) < count:
            raise ValueError(f"only {len(chosen)} heads can go, not {count}")
        return chosen

    def save(self, path: Path) -> None:
        """Keep the table: a list of rows with layer, head and score, and the mean output where it is known."""
        rows = [
            {"layer": a, "head": b, "score": s}
            | ({"mean": self.means[a, b]} if (a, b) in self.means else {})
            for (a, b), s in sorted(self.scores.items())
        ]
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(json.dumps({"by": self.by, "heads": rows}, indent=1), encoding="utf-8")
        beside.replace(path)

    @staticmethod
    def load(path: Path) -> Ranking:
        """A kept ranking, or a table of heads as the explanations write it (`effect` is the score)."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = raw.get("heads") if isinstance(raw, dict) else raw
        if not isinstance(rows, list) or not rows:
            raise ValueError(f"{path} holds no table of heads")
        scores, means = {}, {}
        for row in rows:
            score = row.get("score") if "by" in raw else row.get("effect")
            if score is None:
                raise ValueError(f"{path}: no score or effect of head {row.get('head')}")
            scores[int(row["layer"]), int(row["head"])] = float(score)
            if "mean" in row:
                means[int(row["layer"]), int(row["head"])] = [float(x) for x in row["mean"]]
        by = raw.get("by", "effect") if isinstance(raw, dict) else "effect"
        return Ranking(by, scores, means)


def all_heads(gpt: GPT) -> list[Head]:
    """Every (layer, head)."""
    return [(n, h) for n, block in enumerate(gpt.blocks) for h in range(block.attn.heads)]


def by_effect(
    gpt: GPT, batches: Sequence[list[Tensor]], loss: Loss, count: int = 1,
    spared: Sequence[Head] = (), say: Say = silent,
) -> Ranking:  # fmt: skip
    """What putting a head's mean output in its place costs: the critical ones cost most. The `count` that cost least are found one
    after another, each measured with those before it gone (two heads may stand in for each other); none of them is
    spared, one at least is left in each layer.
    """
    means = mean_outputs(gpt, batches, loss)
    gone: list[Head] = []
    scores: dict[Head, float] = {}
    floor = float("-inf")
    with torch.no_grad():
        clean = _loss_without(gpt, [], means, batches, loss)
        for _ in range(max(1, count)):
            costs = {
                head: _loss_without(gpt, [*gone, head], means, batches, loss) - clean
                for head in all_heads(gpt)
                if head not in gone
            }
            scores |= {head: max(floor, cost) for head, cost in costs.items()}
            found = Ranking("effect", costs).worst(1, [*spared, *_last(gpt, gone)])
            gone += found
            floor = scores[found[0]]  # a head that goes later is worth no less
            layer, head = found[0]
            cost = f"{clean:.3f} -> {clean + costs[found[0]]:.3f}"
            say(
                f"{len(gone)} of {max(1, count)} heads found: layer {layer}, head {head}; loss {cost}"
            )
    return Ranking("effect", scores, means)


def _last(gpt: GPT, gone: Sequence[Head]) -> list[Head]:
    """Heads that are alone in their layers."""
    left = [head for head in all_heads(gpt) if head not in gone]
    return [head for head in left if sum(other[0] == head[0] for other in left) == 1]


def _loss_without(
    gpt: GPT, heads: Sequence[Head], means: dict[Head, list[float]], batches: Sequence[list[Tensor]],
    loss: Loss,
) -> float:  # fmt: skip
    """The mean loss with heads set to their means."""
    edits = {}
    for layer in {layer for layer, _ in heads}:
        mine = {h: torch.tensor(means[layer, h]) for at, h in heads if at == layer}
        edits[f"blocks.{layer}.attn.z"] = _replaced(mine)
    with attach(gpt, edits):
        return sum(float(loss(gpt, batch)) for batch in batches) / len(batches)


def mean_outputs(
    gpt: GPT, batches: Sequence[list[Tensor]], loss: Loss
) -> dict[Head, list[float]]:  # fmt: skip
    """The mean output of every head, [D/H]."""
    sums: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Tensor], Tensor]:
        def edit(z: Tensor) -> Tensor:  # [B, Q, H, D/H]
            sums[layer] = sums.get(layer, torch.zeros(())) + z.float().mean((0, 1))
            return z

        return edit

    edits = {f"blocks.{n}.attn.z": keep(n) for n in range(len(gpt.blocks))}
    with torch.no_grad(), attach(gpt, edits):
        for batch in batches:
            loss(gpt, batch)
    return {
        (layer, head): (mean / len(batches)).tolist()
        for layer, total in sums.items()
        for head, mean in enumerate(total)
    }


def _replaced(means: dict[int, Tensor]) -> Callable[[Tensor], Tensor]:
    def edit(z: Tensor) -> Tensor:  # [B, Q, H, D/H]
        z = z.clone()
        for head, mean in means.items():
            z[:, :, head] = mean.to(z.dtype)
        return z

    return edit


def by_gradient(gpt: GPT, batches: Sequence[list[Tensor]], loss: Loss) -> Ranking:
    """First-order cost of removing a head: mean |z . dL/dz|."""
    scores = dict.fromkeys(all_heads(gpt), 0.0)
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Tensor], Tensor]:
        def edit(z: Tensor) -> Tensor:
            z.retain_grad()
            seen[layer] = z
            return z

        return edit

    with attach(gpt, {f"blocks.{n}.attn.z": keep(n) for n in range(len(gpt.blocks))}):
        for batch in batches:
            loss(gpt, batch).backward()
            for layer, z in seen.items():
                assert z.grad is not None
                worth = (z.detach().float() * z.grad.float()).sum(3).abs().mean((0, 1))  # [H]
                for head, value in enumerate(worth.tolist()):
                    scores[layer, head] += value / len(batches)
            gpt.zero_grad(set_to_none=True)
    return Ranking("gradient", scores)


def by_magnitude(gpt: GPT) -> Ranking:
    """Norm of a head's rows of the output map and of its value map."""
    scores = {}
    for layer, block in enumerate(gpt.blocks):
        heads = block.attn.heads
        out = block.attn.out.weight.detach().unflatten(1, (heads, -1)).square().sum((0, 2))  # [H]
        value = block.attn.qkv.weight.detach().unflatten(0, (3, heads, -1))[2].square().sum((1, 2))
        scores |= {(layer, h): float((out[h] * value[h]).sqrt()) for h in range(heads)}
    return Ranking("magnitude", scores)


def by_chance(gpt: GPT, seed: int) -> Ranking:
    """A random order."""
    dice = torch.Generator().manual_seed(seed)
    heads = all_heads(gpt)
    values = torch.rand(len(heads), generator=dice).tolist()
    return Ranking(f"random {seed}", dict(zip(heads, values, strict=True)))
