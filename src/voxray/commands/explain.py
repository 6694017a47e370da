"""`voxray explain`: say a text and show on one page how it came about."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import MODEL, find_voice, note

if TYPE_CHECKING:
    from ..explain.report import Answer, Report


def explain(
    text: Annotated[str, typer.Argument(help="What to say.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".html: a page; .json: every number")
    ] = Path("report.html"),
    voice: Annotated[
        str | None, typer.Option("--voice", "-v", help="A name, a voice file or a recording.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same speech.")] = 0,
    lang: Annotated[str, typer.Option(help="auto, en or zh")] = "auto",
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    temperature: Annotated[
        float | None, typer.Option(help="Default: the model's.", show_default=False)
    ] = None,
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Pitch, energy and likeness, too: takes minutes.")
    ] = False,
    edit: Annotated[
        Path | None, typer.Option("--edit", help="A file of edits: a second player.")
    ] = None,
    why: Annotated[
        str | None, typer.Option("--why", help="Ask what made this word's pitch what it is.")
    ] = None,
    keep_heads: Annotated[
        bool, typer.Option("--keep-heads", help="Keep the alignment heads with --model.")
    ] = False,
    tables: Annotated[Path | None, typer.Option(help="A folder for CSV files.")] = None,
    figures: Annotated[Path | None, typer.Option(help="A folder for PNG or SVG figures.")] = None,
    svg: Annotated[bool, typer.Option("--svg", help="Figures as SVG.")] = False,
) -> None:
    """Say a text and show how it came about: one page, no network."""
    from dataclasses import replace

    from ..explain.report import explain as explained

    if keep_heads and model is None:
        raise ValueError("--keep-heads writes into a model's folder: give --model")
    report = explained(
        text,
        None if voice is None else find_voice(voice, model),
        seed=seed,
        model=model,
        full=full,
        progress=_progress,
        language=lang,
        speed=speed,
        **({} if temperature is None else {"temperature": temperature}),
    )
    report = _with_more(report, edit, why)
    report = replace(report, command=_command(text, voice, seed, lang, speed, model))
    written = _write(report, output, tables, figures, "svg" if svg else "png")
    if keep_heads and model is not None:
        from ..explain.heads import save_heads

        save_heads(report.alignment.heads, model)
    for warning in report.trace.synthesis.warnings:
        note(warning)
    for path in written:
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e3:.0f} kB\n")


def _progress(stage: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{stage} ...\n")


def _write(
    report: Report, output: Path, tables: Path | None, figures: Path | None, kind: str
) -> list[Path]:
    """The page and whatever else was asked for; returns the files."""
    report.save(output)
    written = [output]
    if tables is not None:
        written += report.tables(tables)
    if figures is not None:
        written += report.figures(figures, kind)
    return written


def _with_more(report: Report, edit: Path | None, why: str | None) -> Report:
    """With a second player, and a question answered, where they are wanted."""
    from dataclasses import replace

    if edit is not None:
        from .. import steer
        from ..explain.report import with_edits

        report = with_edits(report, steer.load(edit), edit.name)
    if why is not None:
        report = replace(report, answers=[*report.answers, _answer(report, why)])
    return report


def _answer(report: Report, word: str) -> Answer:
    """Why the word's pitch is what it is, by patching."""
    from ..explain.report import Answer
    from ..explain.why import why

    made = why(report.trace.spoken, word=word, what="pitch")
    best = made.best
    if best is None:
        return Answer(made.sentence)
    figures = {"share": best.share, "effect": best.effect}
    return Answer(made.sentence, figures, "patched back, shared dice")


def _command(
    text: str, voice: str | None, seed: int, lang: str, speed: float, model: Path | None
) -> str:
    """The command line that makes the same page again."""
    import shlex

    parts = ["voxray", "explain", text, "--seed", str(seed)]
    if voice is not None:
        parts += ["--voice", voice]
    if lang != "auto":
        parts += ["--lang", lang]
    if speed != 1.0:
        parts += ["--speed", str(speed)]
    if model is not None:
        parts += ["--model", str(model)]
    return shlex.join(parts)
