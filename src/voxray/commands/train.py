"""`voxray train content|generator|gpt`: run one trainer from a config file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Stage(str, Enum):
    """What can be trained."""

    content = "content"
    generator = "generator"
    gpt = "gpt"


def train(
    stage: Annotated[Stage, typer.Argument(help="What to train.")],
    config: Annotated[Path, typer.Argument(help="A config file.")],
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the last step.")] = True,
) -> None:
    """Train one stage; a killed run goes on from its last step."""
    from .. import train as trainers

    if not config.is_file():
        raise FileNotFoundError(f"no such config file: {config}")
    trainers.run(stage.value, config, device=device, resume=resume)
