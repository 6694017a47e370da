"""`voxray train content|generator|gpt|clarity|article|denoiser|bundle|restart`: one stage on a store, settings as JSON."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Stage(str, Enum):
    """What can be trained; `bundle` joins finished runs into a model, `restart` takes one apart."""

    content = "content"
    generator = "generator"
    gpt = "gpt"
    clarity = "clarity"
    article = "article"
    denoiser = "denoiser"
    bundle = "bundle"
    restart = "restart"


TOGETHER = (Stage.gpt, Stage.article, Stage.denoiser)  # what several processes train alike


def train(
    stage: Annotated[
        Stage, typer.Argument(help="What to train; bundle: join runs; restart: go on from a model.")
    ],
    data: Annotated[
        Path, typer.Argument(help="A store made by `data prepare`; for bundle: the runs' folder.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")],
    settings: Annotated[
        Path | None, typer.Option("-c", "--config", help="A JSON file; default: mini's settings.")
    ] = None,
    prior_settings: Annotated[
        Path | None, typer.Option("--prior-config", help="For the generator's second part.")
    ] = None,
    joint_settings: Annotated[
        Path | None, typer.Option("--joint-config", help="For the generator's third part.")
    ] = None,
    polish_settings: Annotated[
        Path | None, typer.Option("--polish-config", help="For the generator's fourth part.")
    ] = None,
    decoder_settings: Annotated[
        Path | None, typer.Option("--decoder-config", help="For the generator's fifth part.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="For content: Whisper tiny's torch file.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="For restart and clarity: a model; default: the built-in one."
        ),
    ] = None,
    speakers: Annotated[
        Path | None, typer.Option("--speakers", help="For restart: resemblyzer's pretrained.pt.")
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            min=1, help="Processes; not of content, clarity and bundle. Needs voxray[train]."
        ),
    ] = 1,
    accelerator: Annotated[
        str, typer.Option(help="Of several devices, or for restart: cpu or cuda.")
    ] = "cpu",
) -> None:
    """Train one stage; a killed run goes on from its last step."""
    if not data.is_dir():
        raise FileNotFoundError(f"no such folder: {data}; `voxray data prepare` makes a store")
    given = (settings, prior_settings, joint_settings, polish_settings, decoder_settings)
    settings_of = [_read(path) for path in given]
    if stage is Stage.generator:
        _generator(data, output, settings_of, devices, accelerator)
    elif stage in TOGETHER:
        _together(stage, data, output, settings_of[0], devices, accelerator)
    else:
        _alone(stage, data, output, settings_of[0], start, model, speakers, accelerator)


def _generator(
    data: Path, output: Path, parts: list[str], devices: int, accelerator: str
) -> None:  # fmt: skip
    from ..train import stages
    from ..train.devices import launch

    first, second, *others = parts
    work = (data, output, first, second, _say, *others)
    launch(devices, stages.run_generator, *work, accelerator=accelerator)


def _together(
    stage: Stage, data: Path, output: Path, given: str, devices: int, accelerator: str
) -> None:
    from ..train import stages
    from ..train.devices import launch

    runs = {Stage.gpt: stages.run_gpt, Stage.article: stages.run_article}
    launch(
        devices,
        runs.get(stage, stages.run_denoiser),
        data,
        output,
        given,
        _say,
        accelerator=accelerator,
    )


def _alone(
    stage: Stage, data: Path, output: Path, given: str, start: Path | None, model: Path | None,
    speakers: Path | None, accelerator: str,
) -> None:  # fmt: skip
    from ..train import restart, stages

    if stage is Stage.content:
        stages.run_content(data, output, given, _say, start)
    elif stage is Stage.clarity:
        stages.run_clarity(data, output, given, _say, model)
    elif stage is Stage.restart:
        restart.run_restart(data, output, model, speakers, _say, accelerator)
    else:
        stages.save_model(data, output)


def _read(path: Path | None) -> str:
    return "{}" if path is None else path.read_text(encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
