"""`voxray convert`: a published voice's two files -> a model folder that `say --model` speaks with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def convert(
    files: Annotated[
        list[Path], typer.Argument(help="GPT (.ckpt), SoVITS (.pth); v3, v4: vocoder, LoRA.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    version: Annotated[
        str | None, typer.Option(help="v3 or v4, where the file cannot tell by itself.")
    ] = None,
) -> None:
    """Convert a published voice to safetensors, without running anybody's pickle."""
    from ..convert.assemble import convert as assemble

    config = assemble(files, output, version=version)
    sys.stdout.write(
        f"{output}: {config.name} ({config.version}), {config.generator.sample_rate} Hz\n"
        f"Speak: voxray say TEXT --model {output} --voice recording.wav\n"
    )
