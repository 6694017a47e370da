"""`voxray convert-voice`: a recording in another voice, word for word as it was said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import MODEL, find_voice, note, refuse_overwriting


def convert_voice(
    recording: Annotated[Path, typer.Argument(help="Speech, any common format.")],
    voice: Annotated[str, typer.Option("--voice", "-v", help="A name, a voice file, a recording.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".wav, .flac, .mp3 or .ogg")
    ] = Path("out.wav"),
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same speech.")] = None,
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Say what a recording says in another voice."""
    from ..engine import check_output, save, tts

    refuse_overwriting(output, recording, voice)
    check_output(output)
    made = tts.convert(recording, find_voice(voice), model=model, speed=speed, seed=seed)
    save(made, output)
    for warning in made.warnings:
        note(warning)
    if as_json:
        record = {"file": str(output), **made.report()}
        sys.stdout.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return
    sys.stdout.write(f"{output}: {made.seconds:.1f} s, seed {made.seed}\n")
