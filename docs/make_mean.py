"""Make one model out of several that were trained on from the same one: the weighted mean of their tensors.

    python docs/make_mean.py TARGET_FOLDER MODEL_FOLDER[=SHARE] MODEL_FOLDER[=SHARE] ...

Runs from one start that saw other data, or another loss, lie in one valley, and the point between them is often better than
any of them (Wortsman et al. 2022, arXiv 2203.05482). Shares are 1 where none is given, and are divided by their sum. What the
models hold beside their weights (training parts, sounds of the codes, text manifest) and their settings are the first one's.
Models of different sizes have no mean: bring the smaller one to the other's size first (`voxray.train.decoder.grown`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor

from voxray.bundle import PARTS, Bundle

BESIDE = (
    "training.safetensors",
    "phones.safetensors",
    "text.json",
)  # of a model, beside its weights


def asked(argument: str) -> tuple[Path, float]:
    """FOLDER or FOLDER=SHARE; ValueError where the share is no number above 0."""
    name, _, share = argument.partition("=")
    try:
        weight = float(share or "1")
    except ValueError as error:
        raise ValueError(f"{argument}: the share behind = is no number") from error
    if not weight > 0:
        raise ValueError(f"{argument}: a share has to be above 0")
    return Path(name), weight


def mean(states: list[dict[str, Tensor]], shares: list[float]) -> dict[str, Tensor]:
    """The weighted mean of models' tensors; counts and the like are the first one's. ValueError where they differ in shape."""
    total = sum(shares)
    for state in states[1:]:
        shapes = ({name: x.shape for name, x in one.items()} for one in (states[0], state))
        if len({tuple(sorted(shape.items())) for shape in shapes}) > 1:
            raise ValueError("only models of the same sizes have a mean")
    made = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            parts = [
                share / total * state[name] for share, state in zip(shares, states, strict=True)
            ]
            first = torch.stack(parts).sum(0)
        made[name] = first
    return made


def keep_beside(model: Path, target: Path) -> None:
    """Copy what a model's folder holds beside its weights."""
    for name in BESIDE:
        if (model / name).is_file():
            shutil.copyfile(model / name, target / name)


def make(target: Path, arguments: list[str]) -> None:
    """Write the mean of these models."""
    folders, shares = zip(*(asked(argument) for argument in arguments), strict=True)
    models = [Bundle.load(folder, precision="float32") for folder in folders]
    for part in PARTS:
        states = [getattr(model, part).state_dict() for model in models]
        getattr(models[0], part).load_state_dict(mean(states, list(shares)))
    models[0].save(target)
    keep_beside(folders[0], target)
    sys.stdout.write(f"{target}\n")


def main() -> None:
    """The command; exit code 2 where an argument is no good."""
    if len(sys.argv) < 4:
        sys.stderr.write(f"{__doc__}\n")
        sys.exit(2)
    try:
        make(Path(sys.argv[1]), sys.argv[2:])
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
