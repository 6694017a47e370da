"""`voxray forensics judge|defend`: is it synthetic, when and in which bands; what escapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Tell synthetic speech from people's.", no_args_is_help=True)
SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
JSON = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command()
def judge(
    file: Annotated[Path, typer.Argument(help="A sound file, any common format.")],
    as_json: JSON = False,
) -> None:
    """Judge a file: a hint, not a proof."""
    from .. import audio
    from .. import forensics as library

    found = library.judge(*audio.read_audio(file))
    if as_json:
        record = {
            "file": str(file),
            "log_odds": round(found.score, 3),
            "synthetic": found.synthetic,
            "spans": [[round(s.start_s, 2), round(s.end_s, 2), round(s.odds, 2)]
                      for s in found.spans],
            "bands": [[round(value, 3) for value in band] for band in found.bands],
        }  # fmt: skip
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
        return
    likelier = "synthetic" if found.synthetic else "a person"
    sys.stdout.write(f"{file}: {likelier} is likelier (log odds {found.score:+.2f})\n")
    for span in found.spans:
        sys.stdout.write(f"  {span.start_s:.2f}-{span.end_s:.2f} s: {span.odds:+.2f}\n")
    low, high, share = max(found.bands, key=lambda band: band[2])
    sys.stdout.write(f"  strongest evidence from {low:.0f}-{high:.0f} Hz ({share:+.2f})\n")


@app.command()
def defend(
    folder: Annotated[Path, typer.Argument(help="A folder of synthetic speech.")],
    as_json: JSON = False,
) -> None:
    """Which of these synthetic files pass for people, and what they have in common."""
    from ..forensics.defend import report

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    found = report(files)
    if as_json:
        record = {
            "files": len(found.cases),
            "escaped": [{"file": case.file, "log_odds": case.score} for case in found.escaped],
            "reasons": [vars(reason) for reason in found.reasons],
        }
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
        return
    sys.stdout.write("\n".join(found.lines()) + "\n")
