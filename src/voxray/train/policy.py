"""What a GPT learns from its own takes: a policy gradient with advantages relative to the group.

In: pieces of text, each said several times, with how clear each phoneme of each take came out (`clarity.py` has them
made). Out: of each token what it is worth beside the other takes' (Shao et al. 2024, DeepSeekMath, eq. 3, there one
for a whole answer), batches, and the losses: advantage times log-probability, and the divergence from the GPT as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from voxray.models.gpt import GPT

from .gpt import IGNORE, guided_bias

AROUND = np.array([0.25, 0.5, 0.25])  # how a token's phoneme and its neighbours count


@dataclass(frozen=True)
class Said:
    """One piece of a text, said several times: phonemes [P], places that are spoken [Q]; of each take the tokens [S],
    their places [S], the log odds of its phonemes [Q] and whether it is whole.
    """

    ids: tuple[int, ...]
    spoken: tuple[int, ...]
    tokens: list[list[int]]
    paths: list[list[int]]
    odds: NDArray[np.float32]  # [K, Q]
    whole: list[bool]

    @property
    def clarity(self) -> NDArray[np.float32]:
        """Of each take [K]."""
        return self.odds.mean(1)


def advantages(
    said: Sequence[Said], whole: float = 0.5, spoilt: float = 1.0
) -> list[list[NDArray[np.float64]]]:
    """Of each token of each take how much better it did than the other takes', and last of its end, [S + 1] each; the parts
    are scaled by their spread over the whole micro-batch. `whole`: weight of a take's own advantage beside those of its
    phonemes; `spoilt`: off a take's clarity where the watch found a fault.
    """
    local, total = [], []
    for piece in said:
        deviation = piece.odds - piece.odds.mean(0)  # [K, Q]
        local.append(np.stack([np.convolve(row, AROUND, "same") for row in deviation]))
        worth = piece.clarity - spoilt * ~np.array(piece.whole)
        total.append(worth - worth.mean())  # [K]
    near = 1.0 / (np.concatenate([x.ravel() for x in local]).std() + 1e-3)
    wide = whole / (np.concatenate(total).std() + 1e-3)
    made = []
    for piece, phonemes, worths in zip(said, local, total, strict=True):
        index = np.full(len(piece.ids), -1)
        index[list(piece.spoken)] = np.arange(len(piece.spoken))
        takes = []
        for path, own, worth in zip(piece.paths, phonemes, worths, strict=True):
            at = index[path]
            each = np.where(at >= 0, own[at], 0.0) * near + worth * wide
            takes.append(np.append(each, worth * wide))
        made.append(takes)
    return made


def rows_of(said: Sequence[Said], gains: list[list[NDArray[np.float64]]], end: int) -> list[Tensor]:
    """All takes as one batch: ids [B, P], lengths [B], tokens [B, S], targets [B, S+1], pointer [B, S+1],
    advantage [B, S+1].
    """
    rows = [
        (piece.ids, tokens, path, gain)
        for piece, own in zip(said, gains, strict=True)
        for tokens, path, gain in zip(piece.tokens, piece.paths, own, strict=True)
    ]
    phones, length = max(len(r[0]) for r in rows), max(len(r[1]) for r in rows)
    ids = torch.zeros(len(rows), phones, dtype=torch.long)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    targets = torch.full((len(rows), length + 1), IGNORE)
    pointer = torch.zeros(len(rows), length + 1, dtype=torch.long)
    gain = torch.zeros(len(rows), length + 1)
    for i, (text, codes, path, worth) in enumerate(rows):
        count = len(codes)
        ids[i, : len(text)] = torch.tensor(text)
        tokens[i, :count] = torch.tensor(codes)
        targets[i, : count + 1] = torch.tensor([*codes, end])
        pointer[i, :count] = torch.tensor(path)
        pointer[i, count:] = path[-1]
        gain[i, : count + 1] = torch.from_numpy(worth)
    lengths = torch.tensor([len(r[0]) for r in rows])
    return [ids, lengths, tokens, targets, pointer, gain]


def clarity_losses(
    gpt: GPT, before: GPT, batch: Sequence[Tensor], temperature: float
) -> dict[str, Tensor]:
    """What is to fall: minus the mean of advantage times log-probability, and the divergence from the GPT as it was;
    beside them the entropy of a draw.
    """
    ids, lengths, tokens, targets, pointer, gain = batch
    bias = guided_bias(gpt, pointer, ids.shape[1], None)  # as while the takes were made
    live = targets != IGNORE
    now = F.log_softmax(gpt(ids, lengths, tokens, None, None, bias)[live] / temperature, -1)
    with torch.no_grad():
        was = before(ids, lengths, tokens, None, None, bias)[live] / temperature
        was = F.log_softmax(was, -1)
    drawn = now.gather(1, targets[live][:, None])[:, 0]
    return {
        "gain": -(gain[live] * drawn).mean(),
        "moved": (now.exp() * (now - was)).sum(-1).mean(),
        "entropy": -(now.exp() * now).sum(-1).mean().detach(),
    }


def losses_by_parts(
    gpt: GPT, before: GPT, batch: Sequence[Tensor], temperature: float, rows: int
) -> dict[str, Tensor]:
    """`clarity_losses` of a batch, so many rows at a time, the like by length; what the backward pass needs is computed
    anew for each part.
    """
    counts = (batch[3] != IGNORE).sum(1)  # [B]
    order, total = counts.argsort(), int(counts.sum())
    sums: dict[str, list[Tensor]] = {}
    for part in order.split(rows):
        phones, tokens = int(batch[1][part].max()), int(counts[part].max())
        sizes = phones, None, tokens - 1, tokens, tokens, tokens
        own = [x[part] if size is None else x[part, :size] for x, size in zip(batch, sizes)]
        own = [x.to(gpt.head.weight.device) for x in own]
        losses = checkpoint(clarity_losses, gpt, before, own, temperature, use_reentrant=False)
        share = int(counts[part].sum()) / total
        for name, value in cast("dict[str, Tensor]", losses).items():
            sums.setdefault(name, []).append(share * value)
    return {name: torch.stack(values).sum() for name, values in sums.items()}


def measured(said: Sequence[Said]) -> dict[str, Tensor]:
    """What the takes of a micro-batch were like: clarity of all and of the best, pace, share with a fault."""
    clear = np.concatenate([piece.clarity for piece in said])
    best = np.array([piece.clarity.max() for piece in said])
    paces = [len(t) / len(p.spoken) for p in said for t in p.tokens]
    faults = 1 - float(np.mean([w for p in said for w in p.whole]))
    numbers = {"clarity": clear.mean(), "best": best.mean(), "pace": np.mean(paces)}
    return {n: torch.tensor(float(v)) for n, v in {**numbers, "faults": faults}.items()}
