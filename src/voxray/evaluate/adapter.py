"""Any other system, by a command: so that a comparison can be run again by anyone.

    python other.py --text {text} --prompt {prompt} --prompt-text {prompt_text} --out {out}

The template is split like a shell line, then its placeholders are filled in: no shell runs, and a
text with quotes or semicolons stays one argument. In: an `Item` and where the wave must be. Out: what
it cost (seconds, peak memory of the child, start-up included). What went wrong is an OSError of one line.
"""

from __future__ import annotations

import shlex
import string
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .lists import Item
from .memory import peak_mb

PLACES = ("text", "prompt", "prompt_text", "language", "seed", "out")
LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Cost:
    """Wall seconds and peak memory in MB (nan: unknown)."""

    seconds: float
    memory_mb: float


class CommandSystem:
    """Speaks by running a command for every item."""

    def __init__(self, template: str, timeout: float = LONGEST_SECONDS) -> None:
        self.parts = checked(template)
        self.timeout = timeout

    def __call__(self, item: Item, seed: int, out: Path) -> Cost:
        """Run the command; the wave must lie in `out` afterwards."""
        known = {
            "text": item.text,
            "prompt": str(item.prompt),
            "prompt_text": item.prompt_text,
            "language": item.language,
            "seed": str(seed),
            "out": str(out),
        }
        command = [part.format_map(known) for part in self.parts]
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=self.timeout
            )
        except FileNotFoundError as error:
            raise OSError(f"no such program: {command[0]}") from error
        except subprocess.TimeoutExpired as error:
            raise OSError(f"the command took more than {self.timeout:.0f} s") from error
        spent = time.perf_counter() - began
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise OSError(f"the command ended with {done.returncode}: {said[0]:.200}")
        if not out.is_file():
            raise OSError(f"the command wrote no {out.name}")
        return Cost(spent, peak_mb(children=True))


def checked(template: str) -> list[str]:
    """The template's parts; ValueError where it cannot work."""
    try:
        parts = shlex.split(template)
        named = [name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name]
    except ValueError as error:
        raise ValueError(f"the command template cannot be read: {error}") from error
    unknown = sorted({name for name in named if name not in PLACES})
    if unknown:
        raise ValueError(f"unknown places {unknown} in the command; there are: {', '.join(PLACES)}")
    for needed in ("text", "out"):
        if needed not in named:
            raise ValueError(f"the command template must hold {{{needed}}}")
    return parts
