"""Small shared layers of the built-in model: convolution written as one matrix product.

Layout [B, T, D] throughout. On CPUs with bf16 tiles a `Linear` over shifted copies of the input runs
several times faster than `Conv1d` and is the same function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shifted(x: Tensor, reach: int) -> Tensor:
    """[B, T, D] -> [B, T, (2 reach + 1) D]: each frame beside its neighbours, zeros outside."""
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, reach, reach))
    return torch.cat([padded[:, i : i + frames] for i in range(2 * reach + 1)], dim=2)


class ShiftBlock(nn.Module):
    """Residual block: LayerNorm, kernel-3 map to `mult` x width, GELU, map back."""

    def __init__(self, width: int, mult: int = 2, condition: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(3 * width, mult * width)
        self.narrow = nn.Linear(mult * width, width)
        self.style = nn.Linear(condition, 2 * width) if condition else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x [B, T, D], condition [B, G] or None -> [B, T, D]."""
        y = self.norm(x)
        if self.style is not None and condition is not None:
            scale, shift = self.style(condition)[:, None].chunk(2, dim=-1)  # 2 x [B, 1, D]
            y = y * (1 + scale) + shift
        return x + self.narrow(F.gelu(self.widen(shifted(y, 1))))
