"""`voxray voice make|show|delete`: your own voices."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import MODEL, find_voice, own_voice

if TYPE_CHECKING:
    from ..voice import Voice

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
    model: Annotated[Path | None, typer.Option(help=f"{MODEL} The voice is made for it.")] = None,
    licence: Annotated[str, typer.Option(help="On what terms it may be used.")] = "",
    card: Annotated[str, typer.Option(help="A sentence about it.")] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the voice here instead.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--as-recorded", help="Leave the noise of a noisy recording in.")
    ] = False,
    consent: Annotated[
        Path | None, typer.Option(help="The speaker reading the prompt of `voxray trust prompt`.")
    ] = None,
    number: Annotated[str | None, typer.Option(help="The number in that prompt.")] = None,
    who: Annotated[str, typer.Option(help="An id for the speaker who agrees.")] = "",
    purposes: Annotated[str, typer.Option(help="What for: personal, research, commercial")] = (
        "personal"
    ),
) -> None:
    """Make a voice from a recording."""
    from ..engine import tts
    from ..voice import Voice

    if (consent is None) != (number is None):
        raise ValueError(
            "--consent READING needs --number N and the other way round; "
            "get both from: voxray trust prompt"
        )
    target = own_voice(name) if output is None else output
    models = None if model is None else tts.pipeline(model).models
    voice = Voice.from_file(
        recording, transcript, style=style, name=name, model=models, licence=licence, card=card,
        clean=not raw,
    )  # fmt: skip
    if output is None:
        target.parent.mkdir(parents=True, exist_ok=True)
    if consent is not None and number is not None:
        _consented(voice, recording, consent, number, who or name, purposes)
    voice.save(target)
    heard = voice.recording
    without = ", heard without its noise" if heard["cleaned"] else ""
    sys.stdout.write(
        f"{name}: {heard['seconds']:.1f} s of speech, {heard['snr_db']:.0f} dB signal to noise{without}\n"
    )


def _consented(
    voice: Voice, recording: Path, heard: Path, number: str, who: str, purposes: str
) -> None:
    """Check what was read aloud, and put the consent on record."""
    from ..trust import consent, reading

    asked = reading.find(number)
    checks = reading.check(asked, heard, recording, recogniser=reading.recogniser())
    given = consent.give(
        voice,
        who,
        purposes=purposes.split(","),
        kind="read-aloud",
        recording=recording,
        read=asked.sentence,
        number=number,
        agreement_language=asked.language,
        checks=checks,
    )
    unheard = checks["heard"] == "unchecked"
    sys.stdout.write(
        f"{given.id}: consent of {who} on record, speaker checked"
        + ("; the words were not (pip install voxray[eval])" if unheard else " and words heard")
        + "\n"
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
