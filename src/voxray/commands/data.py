"""`voxray data prepare|warp|list`: manifests of recordings -> a store to train on; a store -> one of more timbres;
manifests -> a `.list` file of the published trainers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Prepare data to train on.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Prepare data to train on."""


@app.command()
def prepare(
    manifests: Annotated[list[Path], typer.Argument(help="Lists of recordings, .tsv or .list.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the store goes.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that read recordings and hear their pitch.")
    ] = 1,
    ray: Annotated[
        str, typer.Option(help="Read on a Ray cluster: `local`, or its address. Extra `ray`.")
    ] = "",
) -> None:
    """Turn recordings into a store; goes on where it stopped, reports what was dropped."""
    from rich.console import Console
    from rich.progress import Progress

    from ..train.label import label_teacher
    from ..train.prepare import add_pitch
    from ..train.prepare import prepare as run

    for manifest in manifests:
        if not manifest.is_file():
            raise FileNotFoundError(f"no such manifest: {manifest}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:

        def steps(name: str) -> Callable[[int, int], None]:
            task = bar.add_task(name, total=None)
            return lambda done, of: bar.update(task, completed=done, total=of)

        report = run(manifests, output, progress=steps("recordings"), workers=workers, cluster=ray)
        add_pitch(output, steps("pitch"), workers)
        labels = label_teacher(output, steps("phonemes"))
    report.update({f"phonemes: {reason}": count for reason, count in labels.items()})
    for reason, count in sorted(report.items()):
        sys.stdout.write(f"{reason}: {count}\n")


@app.command()
def warp(
    store: Annotated[Path, typer.Argument(help="A store made by `data prepare`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the larger store goes.")],
    factors: Annotated[
        str, typer.Option(help="Speeds at which people's clips are played, too.")
    ] = "0.87,1.15",
    workers: Annotated[int, typer.Option(min=1, help="Processes that play them.")] = 1,
) -> None:
    """Add timbres nobody has: people's aligned clips, faster and slower, as new speakers."""
    if not store.is_dir():
        raise FileNotFoundError(f"no such folder: {store}; `voxray data prepare` makes a store")
    from ..train.warp import write_warped

    try:
        speeds = [float(word) for word in factors.split(",")]
    except ValueError as error:
        raise ValueError(f"--factors is {factors!r}; it wants numbers: 0.87,1.15") from error
    added = write_warped(store, output, speeds, lambda entry: not entry.synthetic, workers)
    sys.stdout.write(f"{added} clips of new timbres in {output}\n")


@app.command(name="list")
def write(
    manifests: Annotated[list[Path], typer.Argument(help="Lists of recordings, .tsv or .list.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .list file to write.")],
) -> None:
    """Write recordings down as GPT-SoVITS' trainers want them: path|speaker|language|text."""
    from ..train.corpus import listed, read_manifest
    from ..train.listing import write_list

    if output.suffix != ".list":
        raise ValueError(f"{output}: such a file ends in .list")
    for manifest in manifests:
        if not manifest.is_file():
            raise FileNotFoundError(f"no such manifest: {manifest}")
        if manifest.resolve() == output.resolve():
            raise ValueError(f"{output} would be written over itself")
    clips = [clip for manifest in manifests for clip in read_manifest(manifest)]
    write_list(output, listed(clips, output.parent))
    sys.stdout.write(f"{output}: {len(clips)} clips\n")
