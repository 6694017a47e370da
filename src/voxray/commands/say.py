"""`voxray say`: text -> a file of speech, streamed to disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    MODEL,
    Precision,
    find_voice,
    note,
    open_models,
    read_text,
    refuse_overwriting,
    write_text,
)

if TYPE_CHECKING:
    from ..engine import Stream
    from ..synthesis import Synthesis
    from ..voice import Voice

STOPPED = 130

TextFile = Annotated[
    Path | None, typer.Option("-f", "--file", help="A text file, UTF-8; - is stdin.")
]
SpokenBy = Annotated[
    str | None, typer.Option("--voice", "-v", help="A name, a voice file or a recording.")
]
Temperature = Annotated[
    float | None,
    typer.Option(help="0: always the likeliest; default: the model's.", show_default=False),
]
Penalty = Annotated[
    float | None, typer.Option(help="1: none; default: the model's.", show_default=False)
]
Takes = Annotated[
    int | None,
    typer.Option(
        min=1, help="Tries at a sentence, of which the clearest is kept; default: the model's.",
        show_default=False,
    ),
]  # fmt: skip
References = Annotated[
    list[str] | None, typer.Option(help="More recordings of the speaker: timbres averaged.")
]
Transcript = Annotated[
    str | None, typer.Option(help="What the voice's recording says: takes its manner, too.")
]
Edits = Annotated[
    Path | None, typer.Option("--edit", help="A file of edits (`voxray steer` makes them).")
]


def say(
    text: Annotated[str | None, typer.Argument(help="What to say.", show_default=False)] = None,
    file: TextFile = None,
    voice: SpokenBy = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".wav, .flac, .mp3 or .ogg")
    ] = Path("out.wav"),
    lang: Annotated[str, typer.Option(help="auto, en, zh; published models: more.")] = "auto",
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same speech.")] = None,
    temperature: Temperature = None,
    top_k: Annotated[int, typer.Option(help="Choose among the best k.")] = 15,
    top_p: Annotated[float, typer.Option(help="Choose within this mass.")] = 1.0,
    repetition_penalty: Penalty = None,
    takes: Takes = None,
    pause: Annotated[int, typer.Option(help="Milliseconds between sentences.")] = 280,
    lexicon: Annotated[Path | None, typer.Option(help="A file of readings.")] = None,
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    reference: References = None,
    precision: Precision = None,
    transcript: Transcript = None,
    edit: Edits = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Write subtitles beside it.")] = False,
) -> None:
    """Say a text in a voice."""
    from ..engine import check_output, tts
    from ..steer import load as load_edits

    words = _words(text, file)
    refuse_overwriting(output, voice, file)
    check_output(output)
    if transcript is not None and voice is None:
        raise ValueError("--transcript is what the recording given by --voice says: give both")
    open_models([] if model is None else [model], precision, lexicon)
    stream = tts.stream(
        words,
        _speaker(voice, model, transcript, reference or []),
        model=model,
        lexicon=lexicon,
        language=lang,
        speed=speed,
        seed=seed,
        **({} if temperature is None else {"temperature": temperature}),
        **({} if repetition_penalty is None else {"repetition_penalty": repetition_penalty}),
        **({} if takes is None else {"takes": takes}),
        top_k=top_k,
        top_p=top_p,
        pause_ms=pause,
        stream="equal",  # nobody listens yet
        edits=None if edit is None else load_edits(edit),
    )
    stopped = _write(stream, output)
    _tell(stream.synthesis, output, stopped=stopped, as_json=as_json, srt=srt)
    if stopped:
        raise typer.Exit(STOPPED)


def _speaker(
    voice: str | None, model: Path | None, transcript: str | None, more: list[str]
) -> Voice | None:
    if voice is None and more:
        raise ValueError("--reference adds to the recording given by --voice: give both")
    found = None if voice is None else find_voice(voice, model, transcript)
    return found.averaged([find_voice(name, model) for name in more]) if found and more else found


def _words(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise ValueError('give either a text in quotes or "-f FILE"')
    return read_text(file) if file is not None else str(text)


def _write(stream: Stream, output: Path) -> bool:
    """Stream to disk behind a progress bar; True when Ctrl-C ended it early."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from ..engine import save_stream

    console = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("saying", total=1.0)
        try:
            save_stream(stream, output, lambda done: bar.update(task, completed=done))
        except KeyboardInterrupt:
            return True
    return False


def _tell(made: Synthesis, output: Path, *, stopped: bool, as_json: bool, srt: bool) -> None:
    for warning in made.warnings:
        note(warning)
    if len(made.audio) == 0:
        note("stopped before there was any sound; nothing written")
        return
    if srt:
        write_text(output.with_suffix(".srt"), made.srt())
    if as_json:
        record = {"file": str(output), "complete": not stopped, **made.report()}
        sys.stdout.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return
    total = made.timings.get("total", 0.0)
    rate = f", {made.seconds / total:.1f}x real time" if total else ""
    state = "stopped early, " if stopped else ""
    sys.stdout.write(f"{output}: {state}{made.seconds:.1f} s{rate}, seed {made.seed}\n")
