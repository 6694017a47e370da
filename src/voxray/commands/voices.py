"""`voxray voices`: what voices there are."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from .common import own_names, own_voice


def voices(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the built-in voices and your own."""
    from ..voice import Voice, builtin_names

    found = [("built in", Voice.builtin(name)) for name in builtin_names()]
    found += [("yours", Voice.load(own_voice(name))) for name in own_names()]
    if as_json:
        cards = [{"kind": kind, **voice.details()} for kind, voice in found]
        sys.stdout.write(json.dumps(cards, ensure_ascii=False, indent=1) + "\n")
        return
    if not found:
        sys.stdout.write("no voices yet: voxray voice make NAME RECORDING\n")
        return
    _print_table(found)


def _print_table(found: list[tuple[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "", "language", "about", box=None, pad_edge=False)
    for kind, voice in found:
        card = str(getattr(voice, "card", "")).split("\n")[0]
        table.add_row(getattr(voice, "name", ""), kind, getattr(voice, "language", ""), card)
    Console().print(table)
