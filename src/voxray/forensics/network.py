"""The detector: log-mel [B, T, 64] -> evidence per 40 ms that it is synthetic, log odds [B, T // 4].

One-dimensional convolutions over time, about 80 thousand weights. The mean of each band over the
clip is taken away first: a channel's colour says where something was recorded, not by whom.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import audio
from .matching import RATE, levelled

Wave = NDArray[np.float32]
MELS, HOP, SIZE, FFT = 64, 160, 400, 512
LOWEST, TOP = 60.0, 7000.0
STEP_SECONDS = 4 * HOP / RATE
FLOOR = 1e-6
WIDTH = 64


def features(wave: Wave, rate: int) -> NDArray[np.float32]:
    """Log-mel [T, 64] of a wave [N], level and colour taken away."""
    wave = levelled(wave, rate)
    if len(wave) < SIZE:
        wave = np.pad(wave, (0, SIZE - len(wave)))
    window = np.hanning(SIZE + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, SIZE)[::HOP] * window
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    mel = np.log(power.astype(np.float32) @ mel_bank() + FLOOR)
    return mel - mel.mean(0)


@lru_cache(1)
def mel_bank() -> NDArray[np.float32]:
    """Triangles [FFT // 2 + 1, 64]."""
    return audio.mel_filterbank(RATE, FFT, MELS, LOWEST, TOP).numpy().T.astype(np.float32)


class Detector(nn.Module):
    """Log-mel [B, T, 64] -> log odds [B, T // 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(MELS, WIDTH, 5, stride=2, padding=2),
                nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2),
                nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
                nn.Conv1d(WIDTH, WIDTH, 3, padding=2, dilation=2),
            ]
        )
        self.close = nn.Conv1d(WIDTH, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)  # [B, 64, T]
        for number, layer in enumerate(self.layers):
            new = torch.relu(layer(x))
            x = new if number < 2 else x + new
        return self.close(x)[:, 0]  # [B, T // 4]
