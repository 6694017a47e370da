"""`voxray export`: a converted voice back to the published files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Argument(help="A folder that `voxray convert` wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the two files.")],
) -> None:
    """Write a converted voice as .ckpt and .pth again."""
    from ..convert.export import export as write

    for path in write(model, output):
        sys.stdout.write(f"{path}\n")
