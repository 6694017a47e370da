"""Answerable use: consent, access, watermark, provenance and records, at the engine's gate.

`guard()` is what the engine calls before it speaks; `use(folder)` says where the records lie.
Everything else is in the modules: `policy`, `consent`, `access`, `audit`, `records`, `watermark`,
`credentials`, `verify`.
"""

from __future__ import annotations

from .errors import CODES, Refused
from .place import use

__all__ = ["CODES", "Refused", "guard", "use"]


def guard() -> None:
    """Stand at the engine's gate."""
    from .gate import stand

    stand()
