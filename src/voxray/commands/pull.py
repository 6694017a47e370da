"""`voxray pull`: fetch the encoders and base models of published voices, resumable, hashes pinned."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def pull(
    names: Annotated[
        list[str],
        typer.Argument(help="encoders (hubert, roberta, speaker), v2pro, v2proplus, v4"),
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Where to; default: where encoders are looked for.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="The hub or a mirror; default: HF_ENDPOINT, else the hub.")
    ] = None,
) -> None:
    """Fetch what published voices need from the hub; goes on where it was broken off."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from ..hub import ENDPOINT
    from ..hub import pull as fetch
    from ..pretrained import default_folder

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, int] = {}

        def show(file: str, done: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=size)
            bar.update(tasks[file], completed=done)  # type: ignore[arg-type]

        paths = fetch(
            names,
            folder or default_folder(),
            endpoint=endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT,
            progress=show,
        )
    for path in paths:
        sys.stdout.write(f"{path}\n")
