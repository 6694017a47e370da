"""`voxray tune`: a minute of a person's speech -> a model of their own, with a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import MODEL, VOICE_NAME, note, voices_folder

if TYPE_CHECKING:
    from ..evaluate.fewshot import Outcome
    from ..evaluate.named import NamedJudges

UNHEARD = (
    "nobody hears whether it sounds like the speaker, so the voice will be less like: "
    "`python -m voxray.evaluate.fetch` fetches the encoder that does"
)
Transcripts = Annotated[
    Path | None,
    typer.Option(help="What they say: .list, .tsv (file, text), or .txt of one recording."),
]
Limit = Annotated[
    float,
    typer.Option(min=0.0, help="Computing minutes, at most, for both parts; 0: no limit."),
]


def tune(
    audio: Annotated[Path, typer.Option(help="A recording, or a folder of them, of one speaker.")],
    voice: Annotated[str, typer.Option("--voice", help="What to call the voice.")],
    transcripts: Transcripts = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How much speech to learn from.")] = 1.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the model goes.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help=f"To start from: {MODEL}")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Of low-rank adapters; 0: all weights.")] = 0,
    only: Annotated[str, typer.Option(help="generator or gpt; default: both.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="At most so many for each part.")] = None,
    lang: Annotated[str, typer.Option(help="en or zh, where there are no transcripts.")] = "en",
    limit: Limit = 18.0,
    clean: Annotated[
        bool, typer.Option("--clean", help="Lower steady noise in clips below 20 dB.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 1,
    no_judges: Annotated[
        bool, typer.Option("--no-judges", help="Stop by the held-out loss; needs transcripts.")
    ] = False,
    judges_folder: Annotated[
        Path | None, typer.Option("--judges", envvar="VOXRAY_JUDGES", help="The judges' weights.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Tune a model to one speaker; killed, it goes on where it stopped."""
    import torch

    from ..evaluate import fetch
    from ..evaluate.fewshot import few_shot
    from ..train.tuning import Tuning

    if not VOICE_NAME.fullmatch(voice):
        raise ValueError(f"{voice!r} is no name for a voice: use letters, digits, - and _")
    if lang not in ("en", "zh"):
        raise ValueError(f"--lang is en or zh, not {lang!r}")
    torch.set_num_threads(threads)
    out = output or voices_folder().parent / "models" / voice
    parts = 1 if only else 2
    teacher = fetch.teacher(judges_folder or fetch.DEFAULT_FOLDER)
    if not teacher and only != "gpt":
        note(UNHEARD)
    settings = Tuning(rank=rank, seed=seed, minutes=limit / parts, teacher=teacher)
    if steps is not None:
        settings = settings.model_copy(update={"generator_steps": steps, "gpt_steps": steps})
    made = few_shot(
        audio, voice, out, transcripts=transcripts, minutes=minutes, model=model, settings=settings,
        only=only, language=lang, clean=clean, judges=None if no_judges else _judges(judges_folder, threads),
        say=_say,
    )  # fmt: skip
    _tell(made)


def _tell(made: Outcome) -> None:
    for problem in made.problems:
        note(problem)
    for clip in made.reports:
        for remark in [*clip.faults, *clip.notes]:
            note(f"{clip.name}: {remark}")
    sys.stdout.write((made.folder / "report.md").read_text(encoding="utf-8"))
    sys.stdout.write(
        f'\nvoxray say "..." --model {made.folder} --voice {made.folder / "voice.safetensors"}\n'
    )


def _judges(folder: Path | None, threads: int) -> NamedJudges | None:
    """The judges whose weights are here; None, with a note, where they are not."""
    from ..evaluate.fetch import DEFAULT_FOLDER
    from ..evaluate.missing import JudgeMissing
    from ..evaluate.named import NamedJudges

    judges = NamedJudges(folder=folder or DEFAULT_FOLDER, threads=threads)
    try:
        judges.recogniser, judges.speakers  # noqa: B018  (both load when first asked)
    except JudgeMissing as error:
        note(f"no judge listens, the held-out loss decides: {error}")
        return None
    return judges


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
