"""Monotonic alignment search (Glow-TTS, Kim et al. 2020, arXiv 2005.11129, alg. 1).

In: log-likelihoods [B, P, T] of each frame under each text position, and valid lengths of both. Out: the
hard alignment [B, P, T] of 0 and 1 that is likeliest among those that begin at the first position, end at
the last and never skip or go back. No gradient passes: the path is found, not learnt.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def search(likelihood: Tensor, text_lengths: Tensor, lengths: Tensor) -> Tensor:
    """Hard alignments [B, P, T]; an item needs at least as many frames as positions."""
    values = likelihood.detach().float().cpu().numpy().astype(np.float64)
    made = np.zeros(values.shape, np.float32)
    for row, scores in enumerate(values):
        phones, frames = int(text_lengths[row]), int(lengths[row])
        if not 1 <= phones <= frames:
            raise ValueError(f"{frames} frames cannot say {phones} text positions")
        path = best_path(scores[:phones, :frames])
        made[row, path, np.arange(frames)] = 1.0
    return torch.from_numpy(made).to(likelihood.device)


def best_path(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The position [T] of each frame along the likeliest monotone path through scores [P, T]."""
    phones, frames = scores.shape
    total = np.full(phones, -np.inf)
    total[0] = scores[0, 0]
    moved = np.zeros((frames, phones), bool)
    for t in range(1, frames):
        before = np.concatenate([[-np.inf], total[:-1]])
        moved[t] = before > total
        total = np.maximum(before, total) + scores[:, t]
    path = np.empty(frames, np.int64)
    place = phones - 1
    for t in range(frames - 1, -1, -1):
        path[t] = place
        # what lies below must still reach position 0 at frame 0
        if place and (place == t or moved[t, place]):
            place -= 1
    return path
