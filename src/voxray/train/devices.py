"""The same training on N processes, through Lightning Fabric: CPUs of one machine, GPUs, several machines.

`launch(devices, function, *arguments)` runs a function of this package in N processes that form a `Team`: every
process takes each N-th micro-batch and the gradients are averaged, so that N processes with one micro-batch a step
learn what one process learns with `accumulate` N. Only the first writes. With one device nothing is launched
and no process group is started. Needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from .run import team


class FabricTeam:
    """One process among N."""

    def __init__(self, fabric: Any) -> None:
        self.rank: int = fabric.global_rank
        self.size: int = fabric.world_size
        self._fabric = fabric

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """One reduction for all gradients; a parameter without one counts as zero."""
        live = [p for p in parameters if p.requires_grad]
        flat = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in live]
        )
        mean = self._fabric.all_reduce(flat, reduce_op="mean")
        at = 0
        for parameter in live:
            part = mean[at : at + parameter.numel()].view_as(parameter)
            parameter.grad = part.to(parameter.dtype).clone()
            at += parameter.numel()


def _member(fabric: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    token = team.set(FabricTeam(fabric))
    try:
        function(*arguments)
        fabric.barrier()
    finally:
        team.reset(token)


def launch(
    devices: int,
    function: Callable[..., Any],
    *arguments: Any,
    accelerator: str = "cpu",
    nodes: int = 1,
) -> None:
    """Run `function(*arguments)` in `devices` processes a node; both must be importable and picklable."""
    if devices < 1 or nodes < 1:
        raise ValueError(f"{devices} devices on {nodes} nodes: give 1 or more of each")
    if devices * nodes == 1:
        function(*arguments)
        return
    try:
        library = import_module("lightning_fabric")
    except ModuleNotFoundError as error:
        raise ImportError(
            "training on several devices needs Lightning Fabric: pip install 'voxray[train]'"
        ) from error
    strategy = "ddp_spawn" if nodes == 1 else "ddp"
    fabric = library.Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy
    )
    if nodes == 1:
        fabric.launch(_member, function, arguments)
    else:
        fabric.launch()
        _member(fabric, function, arguments)
