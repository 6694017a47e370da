"""The packed teacher on disk: a folder small enough to carry to a GPU machine, read with torch and numpy alone.

`weights.json` says where each tensor lies in the joined pieces `weights.N.bin` (xz): float32, float16, or int8 with
one scale a row. `voices.bin` holds the style vectors [voices, 510, 256] in float16, one for each length of text.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

WEIGHTS, RAW, VOICES = "weights.json", "weights.raw", "voices.json"
CLIPPING = (1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # scales tried, as shares of the largest value
LONGEST, WIDTH = 510, 256  # symbols; timbre (128) and prosody (128)
Mix = Sequence[tuple[str, float]]  # voices and their weights


def quantise(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and float32 scales, one for each row [*, 1]; the scale of the least squared error."""
    recurrent = value.ndim == 3 and value.shape[0] == 2  # ONNX LSTM [directions, 4 H, input]
    rows = value.reshape(-1, value.shape[-1]) if recurrent else value.reshape(len(value), -1)
    widest = np.abs(rows).max(1) / 127 + 1e-12
    best = error = None
    for share in CLIPPING:
        scale = widest * share
        near = np.clip(np.rint(rows / scale[:, None]), -127, 127) * scale[:, None]
        loss = np.square(near - rows).sum(1)
        if best is None or error is None:
            best, error = scale, loss
        else:
            best, error = np.where(loss < error, scale, best), np.minimum(error, loss)
    scales = np.asarray(best, np.float32)
    values = np.clip(np.rint(rows / scales[:, None]), -127, 127).astype(np.int8)
    shape = (*value.shape[:2], 1) if recurrent else (len(value), *[1] * (value.ndim - 1))
    return values.reshape(value.shape), scales.reshape(shape)


def write_weights(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    kind: Callable[[str, np.ndarray], str],
    swapped: str,
    pieces: int = 2,
) -> int:
    """Write all tensors; `kind` says how each is kept. Those named `swapped...` are stored [out, in, K], the
    way their rows quantise best, and swapped back when read. Returns bytes on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    header: dict[str, list] = {}
    blob = bytearray()

    def put(value: np.ndarray) -> int:
        at = len(blob)
        blob.extend(value.tobytes())
        blob.extend(b"\0" * (-len(blob) % 8))
        return at

    for name in sorted(weights):
        value = weights[name]
        if name.startswith(swapped) and value.ndim == 3:
            value = value.swapaxes(0, 1)
        value = np.ascontiguousarray(value, np.float32)
        how = kind(name, value)
        if how == "int8":
            values, scales = quantise(value)
            scales_at = put(scales)
            row = [how, list(value.shape), put(values), scales_at, list(scales.shape)]
        else:
            row = [how, list(value.shape), put(value.astype(how)), 0, []]
        header[name] = row
    step = -(-len(blob) // pieces)
    names = [f"weights.{i}.bin" for i in range(pieces)]
    for i, name in enumerate(names):
        piece = bytes(blob[i * step : (i + 1) * step])
        (folder / name).write_bytes(lzma.compress(piece, preset=6))
    head = {"pieces": names, "compressed": True, "swapped": swapped, "tensors": header}
    (folder / WEIGHTS).write_text(json.dumps(head))
    (folder / RAW).unlink(missing_ok=True)
    return sum((folder / name).stat().st_size for name in names)


def unpack(folder: Path, raw: Path | None = None) -> Path:
    """Decompress the pieces once, for all processes, to one file beside them (or to `raw`)."""
    raw = raw or folder / RAW
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} holds no packed teacher; make one with pack.py")
    head = json.loads((folder / WEIGHTS).read_text())
    beside = raw.with_suffix(".part")
    with beside.open("wb") as out:
        for name in head["pieces"]:
            out.write(lzma.decompress((folder / name).read_bytes()))
    beside.replace(raw)
    return raw


def read_weights(folder: Path, raw: Path | None = None) -> dict[str, torch.Tensor]:
    """All tensors as float32, on the host, by name."""
    raw = raw or folder / RAW
    if not raw.exists():
        unpack(folder, raw)
    head = json.loads((folder / WEIGHTS).read_text())
    blob = np.memmap(raw, np.uint8, "r")

    def piece(at: int, kind: str, shape: list[int]) -> np.ndarray:
        size = math.prod(shape) * np.dtype(kind).itemsize
        return np.frombuffer(blob[at : at + size].tobytes(), kind).reshape(shape)

    found: dict[str, torch.Tensor] = {}
    for name, (kind, shape, at, scales_at, scales_shape) in head["tensors"].items():
        value = piece(at, kind, shape).astype(np.float32)
        if kind == "int8":
            value *= piece(scales_at, "float32", scales_shape)
        if name.startswith(head["swapped"]) and value.ndim == 3:
            value = value.swapaxes(0, 1)
        found[name] = torch.from_numpy(np.ascontiguousarray(value))
    return found


def write_voices(folder: Path, styles: Mapping[str, np.ndarray], vocabulary: dict) -> None:
    """Write the style vectors by voice, [510, 256] each, and the number of each input symbol."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(styles)
    table = np.stack([styles[n] for n in names]).astype(np.float16)
    (folder / "voices.bin").write_bytes(lzma.compress(table.tobytes(), preset=6))
    head = {"names": names, "shape": list(table.shape), "vocab": vocabulary}
    (folder / VOICES).write_text(json.dumps(head))


def voice_names(folder: Path) -> list[str]:
    """The voices of a packed folder."""
    if not (folder / VOICES).is_file():
        raise FileNotFoundError(f"{folder} holds no voices; make them with pack.py")
    return json.loads((folder / VOICES).read_text())["names"]


class Voices:
    """Style vectors of a packed folder, and what turns a job into the model's input."""

    def __init__(self, folder: Path) -> None:
        names = voice_names(folder)
        head = json.loads((folder / VOICES).read_text())
        data = lzma.decompress((folder / "voices.bin").read_bytes())
        table = np.frombuffer(data, np.float16).reshape(head["shape"])
        self.table = dict(zip(names, table, strict=True))
        self.vocabulary: dict[str, int] = head["vocab"]

    def style(self, symbols: str, timbre: Mix, prosody: Mix) -> np.ndarray:
        """Style [256]: the timbre's half of one mix of voices, the prosody's half of another."""
        row = len(symbols) - 1
        sound, manner = self._mixed(timbre, row), self._mixed(prosody or timbre, row)
        return np.concatenate([sound[:128], manner[128:]])

    def ids(self, symbols: str) -> list[int]:
        """Token numbers, a 0 at either end; ValueError for a symbol unknown or a text too long."""
        unknown = sorted(set(symbols) - set(self.vocabulary))
        if unknown:
            raise ValueError(f"the teacher does not know {''.join(unknown)!r}")
        if not 1 <= len(symbols) <= LONGEST:
            raise ValueError(f"{len(symbols)} symbols; 1 to {LONGEST} can be spoken")
        return [0, *(self.vocabulary[c] for c in symbols), 0]

    def _mixed(self, mix: Mix, row: int) -> np.ndarray:
        unknown = [name for name, _ in mix if name not in self.table]
        if unknown:
            raise ValueError(f"no voice {', '.join(unknown)} in the packed folder")
        parts = [weight * self.table[name][row].astype(np.float32) for name, weight in mix]
        return np.sum(parts, axis=0, dtype=np.float32)
