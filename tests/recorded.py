"""The recorded cases of the published models, for the tests that are marked slow.

They lie in the folder that VOXRAY_PARITY names, else beside the checkout; `needed` skips a test where
they are absent. The published weights are random numbers that the folder's own `weights.py` draws.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BESIDE = Path(__file__).parents[1].parent / "shared" / "parity"
FOLDER = Path(os.environ.get("VOXRAY_PARITY", BESIDE))

needed = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded cases are not here")


def case(name: str) -> dict[str, torch.Tensor]:
    """The arrays of a recorded case."""
    with np.load(FOLDER / "cases" / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if key != "meta"}


def shapes(table: str, starts: tuple[str, ...] = ("",)) -> dict[str, list[int]]:
    """Names and shapes of a published file's tensors, those whose names begin with `starts`."""
    every = json.loads((FOLDER / "keys" / f"{table}.json").read_text())["keys"]
    return {name: shape for name, shape in every.items() if name.startswith(starts)}


def blanks(table: str) -> dict[str, torch.Tensor]:
    """A published file's tensors without numbers: enough to try names and shapes."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes(table).items()}


def weights(table: str, starts: tuple[str, ...] = ("",), seed: int = 0) -> dict[str, torch.Tensor]:
    """A published file's tensors, those whose names begin with one of `starts`."""
    drawn = _drawer().fill(shapes(table, starts), seed)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in drawn.items()}


def _drawer() -> Any:
    spec = importlib.util.spec_from_file_location("parity_weights", FOLDER / "weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_close(ours: torch.Tensor, recorded: torch.Tensor) -> float:
    """Equal within float32: relative L2 3e-5, no number off by more than 3e-4 of the rms."""
    ours = ours.reshape(recorded.shape).double()
    recorded = recorded.double()
    error = ours - recorded
    relative = float(error.norm() / recorded.norm())
    print(f"relative L2 {relative:.2e}, worst {float(error.abs().max()):.2e}", flush=True)
    assert relative <= 3e-5
    assert error.abs().max() <= 3e-4 * recorded.square().mean().sqrt()
    return relative
