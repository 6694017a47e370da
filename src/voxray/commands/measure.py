"""`voxray measure`: how well does a model, or any other system, say a list of texts?"""

from __future__ import annotations

import platform
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import VOICE_NAME

if TYPE_CHECKING:
    from ..evaluate.gallery import Page
    from ..evaluate.lists import Item
    from ..evaluate.measure import Folder, System
    from ..evaluate.named import NamedJudges


def measure(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's folder, `mini`, `mini-small`, or with --command a name of your choice."
        ),
    ],
    items: Annotated[
        Path, typer.Option("--set", help="A list: id|prompt text|prompt file|text[|recording].")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where it all goes.")] = Path(
        "measured"
    ),
    command: Annotated[
        str | None,
        typer.Option(help="Another system: a command with {text}, {prompt}, {prompt_text}, {out}."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it in the table.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often each text is said.")] = 1,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Only the first so many.")
    ] = None,
    style: Annotated[bool, typer.Option("--style", help="Take the prompt's manner, too.")] = False,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also judge real, shuffled, strange and silent clips."),
    ] = False,
    standard: Annotated[
        bool, typer.Option("--standard", help="Judges from the hub, where it can be reached.")
    ] = False,
    judges_folder: Annotated[
        Path | None, typer.Option("--judges", envvar="VOXRAY_JUDGES", help="The judges' weights.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the judges.")] = 2,
) -> None:
    """Speak a list, judge it, write table.md, clips.csv and index.html; goes on where it stopped."""
    from ..evaluate import lists, named
    from ..evaluate.fetch import DEFAULT_FOLDER
    from ..evaluate.measure import Folder, judge_all, speak_all

    chosen = lists.read_items(items)[:most]
    judges, notes = named.choose(
        judges_folder or DEFAULT_FOLDER, standard=standard, threads=threads
    )
    system = _system(model, command, style=style)
    folder = Folder(output, _name(name or model))
    speak_all(chosen, seeds, system, folder, _say)
    judge_all(chosen, folder, judges, _say)
    page = _page(output, chosen, items, judges, notes, controls=controls)
    from ..evaluate import gallery

    for path in gallery.write(page, output):
        sys.stdout.write(f"{path}\n")
    sys.stdout.write("\n" + gallery.markdown(page))


def _system(model: str, command: str | None, *, style: bool) -> System:
    from ..evaluate.measure import command_system, engine_system
    from ..packaged import home

    if command is not None:
        return command_system(command)
    if not home(model).is_dir():
        raise FileNotFoundError(f"no such model: {model}; for another system give --command")
    return engine_system(model, style=style)


def _name(text: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", Path(text).name).strip("-.") or "system"
    if not VOICE_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no name for a system: use letters, digits, - and _")
    return name


def _page(
    output: Path,
    chosen: list[Item],
    items: Path,
    judges: NamedJudges,
    notes: list[str],
    *,
    controls: bool,
) -> Page:
    """Every system that was measured into this folder, and the controls."""
    from ..evaluate import measure as harness
    from ..evaluate.controls import broken
    from ..evaluate.gallery import Page

    table: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    ids = {item.id for item in chosen}
    if controls:
        scores |= _controls(chosen, judges)
        table |= {row: harness.figures(clips, []) for row, clips in scores.items()}
        notes = [*notes, *(f"the judges fail a control: {line}" for line in broken(table))]
    for path in sorted((output / "systems").iterdir()):
        if path.is_dir():
            folder: Folder = harness.Folder(output, path.name)
            scores[path.name] = [s for s in folder.judged().values() if s.id in ids]
            takes = [t for t in folder.made().values() if t.id in ids]
            table[path.name] = harness.figures(scores[path.name], takes)
    facts = {
        "set": f"{items.name}, {len(chosen)} texts",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **judges.names,
        **({"notes": "; ".join(notes)} if notes else {}),
    }
    return Page(f"Measured on {items.stem}", facts, chosen, table, scores)


def _controls(chosen: list[Item], judges: NamedJudges) -> dict[str, Any]:
    from ..evaluate.controls import controls
    from ..evaluate.measure import Ears, judge_clips

    ears = Ears(judges)
    return {row: list(judge_clips(clips, ears)) for row, clips in controls(chosen).items()}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\r")
    sys.stderr.flush()
