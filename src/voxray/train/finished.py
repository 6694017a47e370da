"""What finished runs hold: settings and averaged weights, read back from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.quantiser import Quantiser

from .content import ContentTraining
from .run import Schedule

Settings = TypeVar("Settings", bound=Schedule)


def settings_of(folder: Path, kind: type[Settings]) -> Settings:
    """The settings that a run was trained with; FileNotFoundError where there is none."""
    path = folder / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"no run in {folder}: train that stage first")
    return kind.model_validate_json(path.read_text(encoding="utf-8"))


def state_of(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The modules of a run, averages in place of the last weights."""
    path = folder / "state.pt"
    raw: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for name, value in raw.get("average", {}).items():
        module, key = name.split(".", 1)
        raw["modules"][module][key] = value
    return raw["modules"]


def content_parts(run: Path) -> tuple[ContentEncoder, Quantiser, Readout]:
    """What a content run has trained."""
    model, state = settings_of(run, ContentTraining).model, state_of(run)
    parts = (ContentEncoder(model), Quantiser(model), Readout(model))
    for part, name in zip(parts, ("content", "quantiser", "readout"), strict=True):
        part.load_state_dict(state[name])
    return parts
