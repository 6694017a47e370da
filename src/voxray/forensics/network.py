"""The detector: spectra [B, T, 224] -> evidence per 40 ms that it is synthetic, log odds [B, T // 4].

Convolutions over bands and time, then over time alone; about 80 thousand weights, one second of
context. The mean of each band over the clip is taken away first: a channel's colour says where
something was recorded, not by whom. A clip's score is `scale * mean + offset` of its steps; both
are set after training on people who were kept apart (`train.calibrate`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .matching import RATE, levelled

Wave = NDArray[np.float32]
HOP, SIZE, FFT = 160, 400, 512
FIRST, BINS = 2, 224  # the bins of the spectrum that are looked at: 62 Hz to 7 kHz
HERTZ = RATE / FFT  # of a bin
STEP_SECONDS = 4 * HOP / RATE
FLOOR = 1e-5
LAYOUT = 2  # of the weights; 1 was a stack over log-mel
CHANNELS, WIDTH = (16, 20, 24), 64
DILATIONS = (1, 2, 4, 6)


def features(wave: Wave, rate: int) -> NDArray[np.float32]:
    """Log power [T, 224] of a wave [N], level and colour taken away."""
    wave = levelled(wave, rate)
    if len(wave) < SIZE:
        wave = np.pad(wave, (0, SIZE - len(wave)))
    window = np.hanning(SIZE + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, SIZE)[::HOP] * window
    power = np.abs(np.fft.rfft(frames, FFT)[:, FIRST : FIRST + BINS]) ** 2
    spectrum = np.log(power.astype(np.float32) + FLOOR)
    return spectrum - spectrum.mean(0)


class Detector(nn.Module):
    """Spectra [B, T, 224] -> log odds [B, T // 4]."""

    line: Tensor
    layout: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.bands = nn.Sequential(
            nn.Conv2d(1, first, 7, stride=4, padding=3),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=(1, 2), padding=1),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, stride=(1, 2), padding=1),
            nn.BatchNorm2d(third),
            nn.ReLU(),
        )
        self.enter = nn.Conv1d(third * BINS // 16, WIDTH, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in DILATIONS)
        self.close = nn.Conv1d(WIDTH, 1, 1)
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        self.register_buffer("layout", torch.tensor([LAYOUT], dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        steps = max(1, x.shape[1] // 4)
        x = self.bands(x[:, None] / 2)  # [B, C, T / 4, 14]
        x = torch.relu(self.enter(x.transpose(2, 3).flatten(1, 2)))  # [B, W, T / 4]
        x = nn.functional.dropout(x, 0.2, self.training)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + torch.relu(norm(layer(x)))
        return self.close(x)[:, 0, :steps]

    def score(self, steps: Tensor) -> Tensor:
        """The log odds [B] of whole clips from those of their steps [B, S]."""
        return self.line[0] * steps.mean(1) + self.line[1]
