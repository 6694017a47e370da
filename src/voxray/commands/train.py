"""`voxray train content|generator|gpt`: run one trainer on a store, settings from a JSON file."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    data: Annotated[Path, typer.Argument(help="A store made by `data prepare`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")],
    settings: Annotated[
        Path | None, typer.Option("-c", "--config", help="A JSON file; default: mini's settings.")
    ] = None,
) -> None:
    """Train one stage; a killed run goes on from its last step."""
    if not data.is_dir():
        raise FileNotFoundError(f"no such store: {data}; `voxray data prepare` makes one")
    given = "{}" if settings is None else settings.read_text(encoding="utf-8")
    trainers = {Stage.content: _content, Stage.generator: _generator, Stage.gpt: _gpt}
    trainers[stage](data, output, given, lambda line: sys.stdout.write(f"{line}\n") and None)


def _content(data: Path, output: Path, settings: str, say: Callable[[str], None]) -> None:
    from ..tokens.content import ContentEncoder
    from ..train.content import ContentTraining, train_content

    config = ContentTraining.model_validate_json(settings)
    train_content(data, output, ContentEncoder(config.model), config, say)


def _generator(data: Path, output: Path, settings: str, say: Callable[[str], None]) -> None:
    from ..train.autoencoder import AutoencoderTraining, train_autoencoder

    train_autoencoder(data, output, AutoencoderTraining.model_validate_json(settings), say)


def _gpt(data: Path, output: Path, settings: str, say: Callable[[str], None]) -> None:
    from ..train.gpt import GPTTraining, train_gpt

    train_gpt(data, output, GPTTraining.model_validate_json(settings), say)
