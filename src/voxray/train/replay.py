"""A training step that is recorded once, as a CUDA graph, and replayed: thousands of small kernels without their launches.

A graph does the same on the same memory, so a task that wants it says how its steps differ: `Steps.kind` names what
step n does, and each kind is recorded for itself; batches always have the same shapes, and all dice come from the
device's own generator. A kind is first stepped a few times as it is, so that libraries choose their kernels and the
optimiser has its state. Where recording fails, and on a CPU, steps are taken one by one, the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WARM = 3  # steps of a kind before it is recorded
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Steps:
    """What a recorded step is made of: batch n on the device, its kind, and a kind's losses of a batch."""

    batch: Callable[[int], list[Tensor]]
    kind: Callable[[int], Hashable]
    losses: Callable[[list[Tensor], Any], Losses]


@dataclass(frozen=True)
class Recording:
    """A graph, what it reads and what it tells."""

    graph: Any
    batch: list[Tensor]
    losses: Losses


class Replay:
    """Takes the steps of a task; called with a step's number and its learning rate."""

    def __init__(
        self, steps: Steps, weights: Mapping[str, float], optimizer: torch.optim.Optimizer,
        clip: float, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.steps, self.weights, self.optimizer = steps, weights, optimizer
        self.clip, self.say = clip, say
        self.trained = [p for group in optimizer.param_groups for p in group["params"]]
        self.on_gpu = self.trained[0].is_cuda
        self.taken: dict[Hashable, int] = {}
        self.recordings: dict[Hashable, Recording | None] = {}
        for group in optimizer.param_groups:
            if self.on_gpu:  # read by the graph
                group["lr"] = torch.tensor(0.0, device=self.trained[0].device)

    def __call__(self, number: int, rate: float) -> Losses:
        for group in self.optimizer.param_groups:
            self._set_rate(group, group["scale"] * rate)
        batch, kind = self.steps.batch(number), self.steps.kind(number)
        if self.on_gpu and kind not in self.recordings and self.taken.get(kind, 0) >= WARM:
            self.recordings[kind] = self._recorded(batch, kind)
        recording = self.recordings.get(kind)
        if recording is None:
            self.taken[kind] = self.taken.get(kind, 0) + 1
            return self._apart(batch, kind)
        for ours, theirs in zip(recording.batch, batch, strict=True):
            ours.copy_(theirs, non_blocking=True)
        recording.graph.replay()
        return recording.losses

    @staticmethod
    def _set_rate(group: dict[str, Any], rate: float) -> None:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def _step(self, batch: Sequence[Tensor], kind: Hashable) -> Losses:
        parts = self.steps.losses(list(batch), kind)
        torch.stack([w * parts[name] for name, w in self.weights.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        return {name: value.detach() for name, value in parts.items()}

    def _apart(self, batch: list[Tensor], kind: Hashable) -> Losses:
        """A step as it is; on a GPU in a stream of its own, as whoever records wants it."""
        self.optimizer.zero_grad(set_to_none=True)
        if not self.on_gpu:
            return self._step(batch, kind)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            parts = self._step(batch, kind)
        torch.cuda.current_stream().wait_stream(side)
        return parts

    def _recorded(self, batch: list[Tensor], kind: Hashable) -> Recording | None:
        """The graph of a kind; None where this device or one of its libraries cannot be recorded."""
        held = [x.clone() for x in batch]
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads may do what they like meanwhile: they pin memory
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                parts = self._step(held, kind)
        except RuntimeError as error:
            self.say(f"steps of kind {kind} are not recorded: {error}")
            self.optimizer.zero_grad(set_to_none=True)
            return None
        return Recording(graph, held, parts)
