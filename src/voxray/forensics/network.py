"""The detector: sights [B, T, 248] -> evidence per 40 ms that it is synthetic, log odds [B, T // 4].

A sight is 224 bins of log power and 24 crests. The mean of each bin over the clip is taken away: a
channel's colour says where something was recorded, not by whom. A crest says how peaked a band's
envelope is within 25 ms: where a machine's pulses line up as no throat's and no room's do, or where
it guessed the phases, they give it away, though the power looks right. Convolutions over bands and
time, then over time alone; about 80 thousand weights, one second of context. A clip's score is
`scale * mean + offset` of its steps; both are set after training on people who were kept apart
(`train.calibrate`).
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
CRESTS, SHORT, STEP = 24, 64, 16  # bands of 250 Hz; window of 4 ms, every 1 ms
USUAL_CREST, SPREAD = 0.25, 0.15
SIGHTS = BINS + CRESTS
LAYOUT = 3  # of the weights; 1 was a stack over log-mel, 2 saw no crests
CHANNELS, WIDTH = (16, 20, 24), 64
DILATIONS = (1, 2, 4, 6)


def features(wave: Wave, rate: int) -> NDArray[np.float32]:
    """Sights [T, 248] of a wave [N], level and colour taken away."""
    wave = levelled(wave, rate)
    if len(wave) < SIZE:
        wave = np.pad(wave, (0, SIZE - len(wave)))
    window = np.hanning(SIZE + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, SIZE)[::HOP] * window
    power = np.abs(np.fft.rfft(frames, FFT)[:, FIRST : FIRST + BINS]) ** 2
    spectrum = np.log(power.astype(np.float32) + FLOOR)
    return np.concatenate([spectrum - spectrum.mean(0), _crests(wave)[: len(spectrum)]], 1)


def _crests(wave: Wave) -> NDArray[np.float32]:
    """How peaked the envelope of each band is in every frame: [T, CRESTS], about zero."""
    window = np.hanning(SHORT + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, SHORT)[::STEP] * window
    size = np.abs(np.fft.rfft(frames)[:, 1 : 1 + CRESTS]) + 1e-3  # [ms, CRESTS]
    sums = [np.cumsum(np.pad(part, ((1, 0), (0, 0))), 0, np.float64) for part in (size, size**2)]
    count, every = SIZE // STEP - SHORT // STEP + 1, HOP // STEP
    first, second = ((total[count:] - total[:-count])[::every] / count for total in sums)
    return ((np.log(second / first**2) - USUAL_CREST) / SPREAD).astype(np.float32)


class Detector(nn.Module):
    """Sights [B, T, 248] -> log odds [B, T // 4]."""

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
        self.peaks = nn.Sequential(
            nn.Conv1d(CRESTS, second, 7, stride=4, padding=3), nn.BatchNorm1d(second), nn.ReLU()
        )
        self.enter = nn.Conv1d(third * BINS // 16 + second, WIDTH, 1)
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
        peaks = self.peaks(x[:, :, BINS:].transpose(1, 2))  # [B, C, T / 4]
        x = self.bands(x[:, None, :, :BINS] / 2)  # [B, C, T / 4, 14]
        x = torch.cat([x.transpose(2, 3).flatten(1, 2), peaks], 1)
        x = torch.relu(self.enter(x))  # [B, W, T / 4]
        x = nn.functional.dropout(x, 0.2, self.training)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + torch.relu(norm(layer(x)))
        return self.close(x)[:, 0, :steps]

    def score(self, steps: Tensor) -> Tensor:
        """The log odds [B] of whole clips from those of their steps [B, S]."""
        return self.line[0] * steps.mean(1) + self.line[1]
