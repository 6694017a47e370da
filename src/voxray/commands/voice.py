"""`voxray voice make|show|delete`: your own voices."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import find_voice, own_voice

app = typer.Typer(help="Make, show or delete a voice of your own.", no_args_is_help=True)


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    recording: Annotated[Path, typer.Argument(help="3-30 s of one speaker.")],
    transcript: Annotated[
        str | None, typer.Option(help="What is said in it: takes over the manner, too.")
    ] = None,
    style: Annotated[
        Path | None, typer.Option(help="Take the manner from this recording instead.")
    ] = None,
    licence: Annotated[str, typer.Option(help="On what terms it may be used.")] = "",
    card: Annotated[str, typer.Option(help="A sentence about it.")] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the voice here instead.")
    ] = None,
) -> None:
    """Make a voice from a recording."""
    from ..voice import Voice

    target = own_voice(name) if output is None else output
    voice = Voice.from_file(
        recording, transcript, style=style, name=name, licence=licence, card=card
    )
    if output is None:
        target.parent.mkdir(parents=True, exist_ok=True)
    voice.save(target)
    heard = voice.recording
    sys.stdout.write(
        f"{name}: {heard['seconds']:.1f} s of speech, {heard['snr_db']:.0f} dB signal to noise\n"
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name or a voice file.")]) -> None:
    """Print a voice's card."""
    voice = find_voice(name)
    details = {**voice.details(), "style": bool(voice.prompt_tokens)}
    sys.stdout.write(json.dumps(details, ensure_ascii=False, indent=1) + "\n")


@app.command()
def delete(name: Annotated[str, typer.Argument(help="One of your own voices.")]) -> None:
    """Delete a voice of your own."""
    path = own_voice(name)
    if not path.is_file():
        raise ValueError(f"you have no voice named {name!r}; `voxray voices` lists them")
    path.unlink()
    sys.stdout.write(f"{name}: deleted\n")
