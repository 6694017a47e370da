"""The one error of the foreign door, and how words out of a foreign file may be shown."""

from __future__ import annotations

AGAIN = "download or copy the file again"
UNTRUSTED = "do not use this file, and do not open it with other programs"


class ForeignFileError(ValueError):
    """A foreign file is damaged, unsafe, unknown or contradictory; the message says what to do."""


def shown(text: str, limit: int = 80) -> str:
    """Text out of a foreign file for a terminal: no control characters, on one line, not long."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
