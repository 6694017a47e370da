"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on the linear maps of any model.

`adapt(model, rank)` freezes the model and gives each `nn.Linear` a trainable product B A of that rank beside its
weight, zero at first: the model says the same until it has learnt something. `merge(model)` adds the
products to the weights and leaves plain layers. They are parametrisations: no class of a model changes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """weight [O, I] -> weight + B A, B [O, R], A [R, I]."""

    def __init__(self, rows: int, columns: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        start = torch.randn(rank, columns, generator=generator) * columns**-0.5
        self.down = nn.Parameter(start)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def adapt(model: nn.Module, rank: int, seed: int = 0) -> list[nn.Parameter]:
    """Freeze a model and put adapters on its linear maps; returns what is left to train."""
    if rank < 1:
        raise ValueError(f"the rank of an adapter is 1 or more, not {rank}")
    model.requires_grad_(False)
    dice = torch.Generator().manual_seed(seed)
    for module in list(model.modules()):
        if not isinstance(module, nn.Linear) or parametrize.is_parametrized(module):
            continue
        rows, columns = module.weight.shape
        fitted = LowRank(rows, columns, min(rank, rows, columns), dice)
        parametrize.register_parametrization(module, "weight", fitted)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def merge(model: nn.Module) -> nn.Module:
    """Bake all low-rank adapters into the weights, in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            stack = module.parametrizations["weight"]  # type: ignore[index]
            if isinstance(stack[0], LowRank):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model.requires_grad_(True)
