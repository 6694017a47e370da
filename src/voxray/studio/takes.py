"""Takes: what has been said in this studio, each with its sound file; bounded, gone at the end.

The sound is written by the engine, so that every file carries what trust puts into it. A take's id is
random: who does not have it cannot ask for the sound.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from .. import engine
from ..pipeline import SynthesisOptions
from ..serve.errors import Problem
from ..synthesis import Synthesis
from ..voice import Voice
from .strings import Fault

FORMATS = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Take:
    """Something that was said. `entropy` [S]: how open each token's choice was, in nats."""

    synthesis: Synthesis
    voice: Voice
    options: SynthesisOptions  # as they were in force
    model: Path | None = None
    voice_name: str = ""  # as the studio's list of voices has it
    entropy: NDArray[np.float32] | None = None
    speakers: tuple[tuple[str, float, float], ...] = ()  # of a script: who speaks from when to when
    records: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_hex(16))


class Shelf:
    """The takes of a studio, and their files."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._takes: OrderedDict[str, Take] = OrderedDict()
        self._folder = TemporaryDirectory(prefix="voxray-studio-")
        self._lock = Lock()

    @property
    def folder(self) -> Path:
        """Where the files lie, for the owner alone."""
        return Path(self._folder.name)

    def add(self, take: Take) -> Take:
        """Keep a take; the oldest goes if there are too many."""
        with self._lock:
            self._takes[take.id] = take
            while len(self._takes) > self._most:
                gone, _ = self._takes.popitem(last=False)
                for path in self.folder.glob(f"{gone}.*"):
                    path.unlink(missing_ok=True)
        return take

    def find(self, identifier: str | None) -> Take:
        """A take by its id."""
        with self._lock:
            take = self._takes.get(identifier or "")
        if take is None:
            raise Fault("job-unknown", "take-gone")
        return take

    def file(self, identifier: str, kind: str) -> Path:
        """The sound of a take as a file, written once."""
        if kind not in FORMATS or not ID.fullmatch(identifier):
            raise Problem("not-found", "there is no such sound")
        take = self.find(identifier)
        path = self.folder / f"{identifier}.{kind}"
        with self._lock:
            if not path.is_file():
                engine.save(take.synthesis, path)
        return path

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._takes.clear()
            self._folder.cleanup()
