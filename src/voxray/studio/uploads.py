"""What a page sent: bytes of a file that the page's server keeps in its own folder, if not too many."""

from __future__ import annotations

from pathlib import Path

from ..serve.errors import Problem
from .settings import Settings


def uploaded(settings: Settings, path: str | Path | None, name: str = "file") -> bytes:
    """The bytes; a Problem where nothing was sent, or too much."""
    if not path:
        raise Problem("bad-request", f"give a {name} first")
    source = Path(path)
    if not source.is_file():
        raise Problem("bad-request", f"the {name} is no longer here: give it again")
    if source.stat().st_size > settings.most_upload:
        raise Problem("body-too-large", f"the {name} has over {settings.most_upload >> 20} MB")
    return source.read_bytes()
