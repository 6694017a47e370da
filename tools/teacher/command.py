"""What the tools of this folder share: errors in one clear line with exit code 2, and the teacher's own `symbols.py`."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None]) -> None:
    """Parse, do the work; `ValueError` and `OSError` are told in one line."""
    args = parser.parse_args()
    try:
        work(args)
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


@cache
def load_symbols(teacher: Path) -> ModuleType:
    """The teacher's own `symbols.py` (VOCAB, phonemes)."""
    path = teacher / "symbols.py"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: --teacher is the folder of the teacher's tool")
    spec = importlib.util.spec_from_file_location("teacher_symbols", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
