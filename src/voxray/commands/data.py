"""`voxray data prepare`: a manifest of recordings -> features to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Prepare data to train on.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """A callback keeps `prepare` a verb of its own."""


@app.command()
def prepare(
    manifest: Annotated[Path, typer.Argument(help="A .tsv: file, text, speaker, language.")],
    output: Annotated[Path, typer.Argument(help="Where the features go.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Turn recordings into features; goes on where it stopped."""
    from ..train.prepare import prepare as run

    if not manifest.is_file():
        raise FileNotFoundError(f"no such manifest: {manifest}")
    run(manifest, output, workers=workers)
