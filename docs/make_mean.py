"""Make one model out of several that were trained on from the same one: the weighted mean of their tensors.

    python docs/make_mean.py TARGET_FOLDER MODEL_FOLDER[=SHARE] MODEL_FOLDER[=SHARE] ...

Runs from one start that saw other data, or another loss, lie in one valley, and the point between them is often better than
any of them (Wortsman et al. 2022, arXiv 2203.05482). Shares are 1 where none is given, and are divided by their sum. What the
models hold beside their weights (training parts, sounds of the codes, text manifest) and their settings are the first one's.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor

from voxray.bundle import PARTS, Bundle

BESIDE = ("training.safetensors", "phones.safetensors", "text.json")


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


def main() -> None:
    """The command."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    folders, shares = zip(*(asked(argument) for argument in sys.argv[2:]), strict=True)
    models = [Bundle.load(folder, precision="float32") for folder in folders]
    for part in PARTS:
        states = [getattr(model, part).state_dict() for model in models]
        getattr(models[0], part).load_state_dict(mean(states, list(shares)))
    models[0].save(target)
    for name in BESIDE:
        if (folders[0] / name).is_file():
            shutil.copyfile(folders[0] / name, target / name)
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
