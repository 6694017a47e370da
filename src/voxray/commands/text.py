"""`voxray text check|show`: is the front end the one that the model learnt; what does it read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import MODEL

MANIFEST = "text.json"  # beside a model's weights: what `TextPipeline.manifest()` returned

app = typer.Typer(help="Look at the text front end.", no_args_is_help=True)


@app.command()
def check(
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    lexicon: Annotated[Path | None, typer.Option(help="A file of readings.")] = None,
) -> None:
    """Compare the text front end with the one that a model was trained with."""
    from ..bundle import Bundle
    from ..packaged import DEFAULT, home
    from ..text import check as compare

    folder = home(DEFAULT if model is None else model)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        bundle = Bundle.builtin() if model is None else Bundle.load(folder)
        _compare_names(bundle.fingerprint, lexicon)
        return
    result = compare(manifest, lexicon)
    sys.stdout.write(f"{result}\n")
    if not result.same:
        raise typer.Exit(1)


def _compare_names(saved: str, lexicon: Path | None) -> None:
    from ..text import TextPipeline

    now = TextPipeline(lexicon).fingerprint
    if saved == now:
        sys.stdout.write(f"the text front end is the model's ({now})\n")
        return
    sys.stdout.write(f"the text front end is {now}; the model's was {saved or 'not noted'}\n")
    raise typer.Exit(1)


@app.command()
def show(
    text: Annotated[str, typer.Argument(help="A text.")],
    lang: Annotated[str, typer.Option(help="auto, en or zh")] = "auto",
    lexicon: Annotated[Path | None, typer.Option(help="A file of readings.")] = None,
) -> None:
    """Print what is read, word by word."""
    from ..text import TextPipeline

    phonemes = TextPipeline(lexicon)(text, lang)  # type: ignore[arg-type]
    for index, word in enumerate(phonemes.words):
        sounds = " ".join(item.symbol for item in phonemes.items if item.word == index)
        sys.stdout.write(f"{word.text:<20} {sounds}\n")
