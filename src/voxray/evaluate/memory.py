"""Peak resident memory of this process, or of the largest child that has ended, in MB (nan: unknown)."""

from __future__ import annotations

import sys
from importlib import import_module


def peak_mb(*, children: bool = False) -> float:
    """What the operating system counted since the start; nan where it does not count."""
    try:
        resource = import_module("resource")
    except ModuleNotFoundError:  # Windows
        return float("nan")
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 1e6
