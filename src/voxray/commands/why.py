"""`voxray why`: why does the pitch rise here? Causes by intervention, in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import MODEL, find_voice


def why(
    clip: Annotated[Path, typer.Argument(help="What `voxray say --json` printed.")],
    at: Annotated[str | None, typer.Option(help="A time, such as 1.32s.")] = None,
    word: Annotated[str | None, typer.Option(help="Or a word of the text.")] = None,
    what: Annotated[str | None, typer.Option(help="pitch, loudness or pause")] = None,
    occurrence: Annotated[int, typer.Option(help="Of words alike: the first, second, ...")] = 1,
    draws: Annotated[int, typer.Option(help="Draws of dice behind each interval.")] = 6,
    voice: Annotated[str | None, typer.Option("-v", "--voice", help="If not a known name.")] = None,
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write all numbers here (JSON).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers.")] = False,
) -> None:
    """Say a clip again with one thing changed at a time, and name what matters."""
    from ..explain.tracing import trace
    from ..explain.why import why as ask

    record = _record(clip)
    if (at is None) == (word is None):
        raise ValueError("say where: --at 1.32s, or --word WORD [--what pitch]")
    seconds = None if at is None else _seconds(at)
    opened = trace(
        record["text"],
        find_voice(voice or record["voice"], model),
        seed=record["seed"],
        model=model,
        **_options(record),
    )
    answer = ask(
        opened.spoken, at=seconds, word=word, what=what, occurrence=occurrence, draws=draws
    )
    if output is not None:
        answer.save(output)
    if as_json:
        sys.stdout.write(json.dumps(answer.to_json(), ensure_ascii=False, indent=1) + "\n")
        return
    sys.stdout.write(f"{answer.sentence}\n\n")
    for cause in answer.causes[:8]:
        interval = (
            ""
            if cause.interval is None
            else f" [{cause.interval.low:.2f}, {cause.interval.high:.2f}]"
        )
        mark = "*" if cause.certain else " "
        sys.stdout.write(
            f"{mark} {cause.title:<28} {cause.effect:7.2f} {answer.event.unit}{interval}, {cause.share:.0%}\n"
        )
    sys.stdout.write(f"\n{answer.draws} draws, seed {answer.seed}, {answer.seconds:.1f} s\n")


def _record(clip: Path) -> dict[str, Any]:
    try:
        record = json.loads(clip.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {clip}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{clip} is not JSON: give what `voxray say --json` printed") from error
    missing = [name for name in ("text", "voice", "seed") if name not in record]
    if missing:
        raise ValueError(
            f"{clip} lacks {', '.join(missing)}: give what `voxray say --json` printed"
        )
    return record


def _options(record: dict[str, Any]) -> dict[str, Any]:
    from ..steer import parse

    options = dict(record.get("options", {}))
    if record.get("edits"):
        options["edits"] = parse(record["edits"])
    return options


def _seconds(text: str) -> float:
    try:
        return float(text.strip().removesuffix("s"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: give seconds, such as 1.32s") from error
