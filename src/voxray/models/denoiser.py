"""What was recorded -> what was said: a gain for every bin of the spectrum of a noisy reference.

In: magnitudes [B, T, 513] of 1,024 samples at 24 kHz, every 10 ms, speech at the usual level. Out: gains [B, T, 513]
between 0 and 1 (a mask on the noisy phase: Wang and Chen 2018, arXiv 1708.07524). The network sees log magnitudes, and
beside them each bin's noise floor over the whole recording: a reference is heard as a whole, nothing is causal. Residual
blocks of depthwise convolutions that reach further and further (Liu et al. 2022, arXiv 2201.03545); 1.2 s to both sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE, N_FFT, HOP = 24_000, 1024, 240
BINS = N_FFT // 2 + 1
WIDTH, KERNEL, DILATIONS = 160, 5, (1, 2, 4, 8, 16, 32)
LEAST = 1e-5  # magnitude: what is below is not told apart
QUIETEST = 0.1  # share of the frames that lie below a bin's floor


class Reach(nn.Module):
    """Residual block: frames around each one, channel by channel, then the channels of each frame."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        reach = KERNEL // 2 * dilation
        self.around = nn.Conv1d(
            width, width, KERNEL, padding=reach, dilation=dilation, groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        y = self.norm(self.around(x.transpose(1, 2)).transpose(1, 2))
        return x + self.narrow(F.gelu(self.widen(y)))


class Denoiser(nn.Module):
    """Magnitudes [B, T, 513] -> gains [B, T, 513]."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(BINS, WIDTH)
        self.floor = nn.Linear(BINS, WIDTH)
        self.blocks = nn.ModuleList(Reach(WIDTH, dilation) for dilation in DILATIONS)
        self.norm = nn.LayerNorm(WIDTH)
        self.leave = nn.Linear(WIDTH, BINS)

    def forward(self, magnitude: Tensor) -> Tensor:
        level = (magnitude.clamp_min(LEAST).log() + 5.0) / 3.0
        floor = level.quantile(QUIETEST, dim=1, keepdim=True)  # [B, 1, 513]
        x = self.enter(level) + self.floor(floor)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x)).sigmoid()


def spectrum(wave: Tensor) -> Tensor:
    """Wave [B, N] at 24 kHz -> complex bins [B, T, 513]."""
    window = torch.hann_window(N_FFT, device=wave.device)
    return torch.stft(wave, N_FFT, HOP, window=window, return_complex=True).transpose(1, 2)


def wave_of(bins: Tensor, size: int) -> Tensor:
    """The way back: complex bins [B, T, 513] -> wave [B, size]."""
    window = torch.hann_window(N_FFT, device=bins.device)
    return torch.istft(bins.transpose(1, 2), N_FFT, HOP, window=window, length=size)
