"""`voxray tokens`: which sounds a model's tokens stand for, on one page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import MODEL

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..explain.tokens import Utterance


def tokens(
    recordings: Annotated[
        Path, typer.Argument(help="A manifest (.tsv or .list) of recordings with their words.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".html: a page; .json: every number")
    ] = Path("tokens.html"),
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    voice: Annotated[
        str | None,
        typer.Option("--voice", "-v", help="Says single tokens; default: none are said."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many recordings.")] = 200,
    method: Annotated[str, typer.Option("--map", help="tsne or umap")] = "tsne",
) -> None:
    """Show which sounds a model's tokens stand for."""
    from ..engine import tts
    from ..explain.token_page import token_report
    from .common import find_voice

    models = tts.pipeline(model).models
    chosen = None if voice is None else find_voice(voice, model)
    report = token_report(
        models, _utterances(models, recordings, limit), method=method, voice=chosen
    )
    report.save(output)
    sys.stdout.write(
        f"{output}: {len(report.corpus)} tokens, {output.stat().st_size / 1e3:.0f} kB\n"
    )


def _utterances(models: Bundle, manifest: Path, limit: int) -> Iterator[Utterance]:
    """Recordings with phoneme times from the model's own alignment heads."""
    import numpy as np

    from .. import audio
    from ..explain.alignment import align_recording
    from ..explain.tokens import Utterance
    from ..train.corpus import read_manifest

    if not manifest.is_file():
        raise FileNotFoundError(f"no such manifest: {manifest}")
    clips = [clip for clip in read_manifest(manifest) if clip.text.strip()]
    if not clips:
        raise ValueError(f"{manifest} names no recording with its words")
    for clip in clips[:: max(1, len(clips) // limit)][:limit]:
        wave, rate = audio.read_audio(clip.path)
        found = align_recording(models, clip.text, wave, rate)
        spans = np.asarray([(p.start_s, p.end_s) for p in found.phonemes])
        yield Utterance(wave, rate, tuple(p.symbol for p in found.phonemes), spans, clip.speaker)
