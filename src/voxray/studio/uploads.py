"""What a page sent: bytes of a file that the page's server keeps in its own folder, if not too many."""

from __future__ import annotations

from pathlib import Path

from .settings import Settings
from .strings import Fault


def uploaded(settings: Settings, path: str | Path | None, kind: str = "sound") -> bytes:
    """The bytes; a Fault where nothing was sent, or too much. Kinds: `file.` in the table of words."""
    if not path:
        raise Fault("bad-request", "file-first", file=kind)
    source = Path(path)
    if not source.is_file():
        raise Fault("bad-request", "file-gone", file=kind)
    if source.stat().st_size > settings.most_upload:
        raise Fault("body-too-large", "file-large", file=kind, most=settings.most_upload >> 20)
    return source.read_bytes()
