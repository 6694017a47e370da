"""What a listener makes of each cell: a wave -> belief [steps, BANDS] that it was turned up.

A small convolutional network sees log magnitudes at 16 kHz (8 ms x 31 Hz) and learnt, with another
random pattern for every clip, to tell the mark from the speech around it (`learn`). It never sees
a key. So whatever it believes, the sum of beliefs times a key's independent random signs is a sum
of independent symmetric terms: the false-alarm bound in `detect` rests on nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .grid import BANDS, BINS, BINS_PER_BAND, FIRST_BIN

Wave = NDArray[np.float32]
RATE, HOP, SIZE = 16_000, 128, 512
FLOOR_DB = -60.0
WIDTH, LAYERS = 24, 4


def log_magnitudes(wave: Wave) -> NDArray[np.float32]:  # [N] -> [frames of 8 ms, BINS]
    """Log magnitudes above a floor below the loud frames, so that level does not matter."""
    padded = np.pad(wave, SIZE // 2)
    window = np.hanning(SIZE + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP] * window
    bins = np.abs(np.fft.rfft(frames))[:, FIRST_BIN : FIRST_BIN + BINS]
    energy = np.sort((bins**2).mean(1))
    level = float(np.sqrt(energy[-max(1, len(energy) // 3) :].mean()))
    return np.log(bins / max(level, 1e-9) + 10 ** (FLOOR_DB / 20)).astype(np.float32)


class Reader(nn.Module):
    """Log magnitudes [B, T, BINS] -> beliefs (log odds) [B, T // 2, BANDS], one per 16 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.open = nn.Conv2d(1, WIDTH, (6, 9), (2, BINS_PER_BAND), (2, 2))
        self.blocks = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=(dilation, 1), dilation=(dilation, 1))
            for dilation in (1, 3, 3, 2)[:LAYERS]
        )
        self.close = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.open((x + 3.0)[:, None] / 2.0)  # [B, W, T/2, BANDS]
        for block in self.blocks:
            x = x + block(torch.relu(x))
        return self.close(torch.relu(x))[:, 0]


@lru_cache(1)
def reader() -> Reader:
    """The network that comes with voxray."""
    made = Reader().eval()
    file = resources.files(__package__) / "reader.safetensors"
    made.load_state_dict(safetensors.torch.load(file.read_bytes()))
    return made


def beliefs(wave: Wave) -> NDArray[np.float32]:
    """A wave [N] at 16 kHz -> [steps of 8 ms, BANDS].

    The network halves the time steps; it reads the frames from the first and from the second, and
    so says something of each: a mark may begin anywhere.
    """
    seen = torch.from_numpy(log_magnitudes(wave))[None]  # [1, T, BINS]
    found = np.zeros((seen.shape[1] // 2 * 2, BANDS), np.float32)
    with torch.inference_mode():
        for first in (0, 1):
            odds = reader()(seen[:, first:])[0]  # [(T - first) // 2, BANDS]
            found[first : first + 2 * len(odds) : 2] = torch.tanh(odds / 2).numpy()
    return found
