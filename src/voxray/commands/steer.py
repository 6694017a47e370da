"""`voxray steer`: make, show, check and join files of edits, for `voxray say --edit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import MODEL

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..steer import Edit, Edits

app = typer.Typer(help="Make edits for `voxray say --edit`.", no_args_is_help=True)
Output = Annotated[Path, typer.Option("-o", "--output", help="The file of edits to write.")]
Model = Annotated[Path | None, typer.Option(help=MODEL)]
Occurrence = Annotated[int, typer.Option(help="The first, second, ... of words alike.")]
EDITS = Path("edits.json")


@app.command()
def word(
    name: Annotated[str, typer.Argument(help="The word.")],
    semitones: Annotated[float, typer.Option(help="Raise its pitch.")] = 0.0,
    decibels: Annotated[float, typer.Option(help="Make it louder.")] = 0.0,
    rate: Annotated[float, typer.Option(help="2: twice as fast.")] = 1.0,
    pause: Annotated[int, typer.Option(help="Milliseconds of silence after it.")] = 0,
    occurrence: Occurrence = 1,
    output: Output = EDITS,
) -> None:
    """Pitch, energy, rate of a word and a pause after it."""
    from ..steer import Prosody

    _write(
        output,
        lambda: Prosody(
            word=name, occurrence=occurrence, semitones=semitones, decibels=decibels,
            rate=rate, pause_ms=pause,
        ),
    )  # fmt: skip


@app.command()
def emphasis(
    name: Annotated[str, typer.Argument(help="The word.")],
    dose: Annotated[float, typer.Option(help="How many times as much attention.")] = 2.0,
    occurrence: Occurrence = 1,
    output: Output = EDITS,
) -> None:
    """More attention to a word, in the GPT and in the prior."""
    from ..steer import Emphasis

    _write(output, lambda: Emphasis(word=name, occurrence=occurrence, dose=dose))


@app.command()
def head(
    site: Annotated[str, typer.Argument(help="For instance gpt.blocks.3.attn.z")],
    number: Annotated[int, typer.Argument(help="Which head.")],
    gain: Annotated[float, typer.Option(help="0 takes it out.")] = 0.0,
    model: Model = None,
    output: Output = EDITS,
) -> None:
    """Turn an attention head up, down or off."""
    from ..steer import HeadGain

    _write(output, lambda: HeadGain(site=site, head=number, gain=gain), _models(model))


@app.command()
def concept(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    these: Annotated[Path, typer.Option("--from", help="Clips that have it, or a list of texts.")],
    those: Annotated[Path, typer.Option("--against", help="Clips or texts that have it not.")],
    site: Annotated[str, typer.Option(help="Where; by default the best place found.")] = "",
    amount: Annotated[float, typer.Option(help="How much of it.")] = 1.0,
    method: Annotated[str, typer.Option(help="mean or pca")] = "mean",
    voice: Annotated[str | None, typer.Option("-v", "--voice", help="Who says texts.")] = None,
    model: Model = None,
    output: Output = EDITS,
) -> None:
    """Learn a direction from two folders of clips or two lists of texts."""
    from ..steer.concepts import learn

    found = learn(name, these, those, models=_models(model), site=site, method=method, voice=voice)
    for place, score in found.places:
        sys.stdout.write(f"{place}: AUROC {score:.3f} on items held out\n")
    _write(output, lambda: found.edit(amount), _models(model))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A file of edits.")], model: Model = None
) -> None:
    """Check a file of edits against a model and print it."""
    from ..steer import load

    edits = load(file)
    edits.check(_models(model))
    for number, record in enumerate(edits.record(), start=1):
        if "direction" in record:
            record["direction"] = f"{len(record['direction'])} numbers"
        sys.stdout.write(f"{number}. {json.dumps(record, ensure_ascii=False)}\n")


@app.command()
def join(
    files: Annotated[list[Path], typer.Argument(help="Files of edits, in order.")],
    output: Output = EDITS,
) -> None:
    """Put several files of edits into one."""
    from ..steer import Edits, load

    joined = sum((load(file) for file in files), Edits())
    joined.save(output)
    sys.stdout.write(f"{output}: {len(joined.edits)} edits\n")


@app.command()
def sites(model: Model = None) -> None:
    """List the sites that an edit may name."""
    from ..steer import known_sites

    sys.stdout.write("\n".join(known_sites(_models(model))) + "\n")


def _models(model: Path | None) -> Bundle:
    from ..engine import tts

    return tts.pipeline(model).models


def _write(output: Path, make: object, models: Bundle | None = None) -> None:
    """Make an edit, check it where the model is known, save it; errors in one line."""
    from pydantic import ValidationError

    from ..steer import Edits

    try:
        made: Edit = make()  # type: ignore[operator]
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    edits: Edits = Edits(model="" if models is None else models.name) + made
    if models is not None:
        edits.check(models)
    edits.save(output)
    sys.stdout.write(f"{output}: use it with `voxray say ... --edit {output}`\n")
