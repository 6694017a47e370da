"""`voxray verify FILE`: what is proven, likely and unknown about where a sound is from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[Path, typer.Argument(help="A sound file, any common format.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Read a file's watermark, credentials and record."""
    from ..trust.verify import examine

    found = examine(file)
    if as_json:
        sys.stdout.write(json.dumps(found.report(), ensure_ascii=False, indent=1) + "\n")
        return
    for title, lines in (
        ("proven", found.proven),
        ("likely", found.likely),
        ("unknown", found.unknown),
        ("warning", found.warnings),
    ):
        for line in lines:
            sys.stdout.write(f"{title}: {line}\n")
