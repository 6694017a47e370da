"""A prepared corpus on disk: flat arrays and one index, so that training needs torch and numpy alone.

`index.json` lists clips with their sample offset; `<name>.npy`-like raw files hold one value (or
vector) every `hop` samples. A clip starts at a multiple of 960 samples (one token), so every array
shares the same arithmetic: entry = sample // hop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

RATE = 24_000
TOKEN = 960  # samples per semantic token


@dataclass(frozen=True)
class Entry:
    """One clip of the store; `start` and `samples` are multiples of 960."""

    name: str
    speaker: str
    language: str
    text: str
    split: str
    band_hz: int
    synthetic: bool
    start: int
    samples: int
    phones: str = ""
    durations: tuple[float, ...] = ()


class Store:
    """Read access to a prepared corpus folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "index.json"
        if not index.exists():
            raise FileNotFoundError(f"{folder} is no prepared corpus; run `voxray data prepare`")
        rows = json.loads(index.read_text(encoding="utf-8"))
        self.entries = [Entry(**{**r, "durations": tuple(r["durations"])}) for r in rows]
        self.total = max((e.start + e.samples for e in self.entries), default=0)
        self.wave = np.memmap(folder / "wave.i16", dtype=np.int16, mode="r")

    def array(self, name: str, dtype: str, hop: int, width: int = 1) -> np.ndarray:
        """Memory map of a feature file: [total // hop] or [total // hop, width]."""
        values = np.memmap(self.folder / name, dtype=dtype, mode="r")
        return values.reshape(-1, width) if width > 1 else values

    def whole(self, name: str, dtype: str, hop: int, width: int = 1) -> bool:
        """Whether a feature file is there and covers every clip."""
        path = self.folder / name
        size = self.total // hop * width * np.dtype(dtype).itemsize
        return path.exists() and path.stat().st_size == size

    @contextmanager
    def fill(self, name: str, dtype: str, hop: int, width: int = 1) -> Iterator[np.ndarray]:
        """A zeroed feature file of the right size to fill in place; renamed into being at the end."""
        rows = self.total // hop
        beside = self.folder / f"{name}.part"
        shape = (rows, width) if width > 1 else (rows,)
        values = np.memmap(beside, dtype=dtype, mode="w+", shape=shape)
        yield values
        values.flush()
        beside.replace(self.folder / name)

    def audio(self, entry: Entry) -> np.ndarray:
        """The clip's wave as float32 in [-1, 1]."""
        cut = self.wave[entry.start : entry.start + entry.samples]
        return cut.astype(np.float32) / 32768.0


def write_index(folder: Path, entries: list[Entry]) -> None:
    """Write the index beside, then rename."""
    beside = folder / "index.json.part"
    beside.write_text(
        json.dumps([asdict(e) for e in entries], ensure_ascii=False), encoding="utf-8"
    )
    beside.replace(folder / "index.json")
