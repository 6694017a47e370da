"""One training run on disk: numbered state, atomically replaced, and a log of losses.

A run can be killed at any moment and goes on from its last saved step: modules, optimiser, step,
random state. TensorBoard is written where it is installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Run:
    """A folder `runs/NAME` with `state.pt`, `log.jsonl` and optional TensorBoard events."""

    def __init__(self, folder: Path, modules: Mapping[str, nn.Module]) -> None:
        self.folder = folder
        self.modules = dict(modules)
        self.step = 0
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.board = _board(folder)

    def resume(self, optimizer: torch.optim.Optimizer | None = None) -> bool:
        """Load the last state, if any; True if there was one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        if optimizer is not None and state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        torch.set_rng_state(state["rng"])
        return True

    def save(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Write the state beside the old one, then rename."""
        state = {
            "step": self.step,
            "modules": {name: m.state_dict() for name, m in self.modules.items()},
            "optimizer": optimizer.state_dict() if optimizer else None,
            "rng": torch.get_rng_state(),
        }
        beside = self.folder / "state.pt.part"
        torch.save(state, beside)
        beside.replace(self.folder / "state.pt")

    def log(self, **values: Any) -> None:
        """Append one row of numbers."""
        seconds = round(time.monotonic() - self.started, 1)
        row = {"step": self.step, "seconds": seconds}
        row.update({k: round(float(v), 4) for k, v in values.items()})
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(key, float(value), self.step)


def _board(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def warm(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Learning rate: linear rise, then a half cosine to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    cosine = 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))
    return peak * (0.05 + 0.95 * cosine)
