"""Mel -> waveform by transposed convolutions with snake activations (BigVGAN, Lee et al. 2023).

In: natural-log mel [B, M, T]. Out: waveform [B, 1, T * hop] clamped to [-1, 1], hop = product of the
rates. The activation x + sin^2(a x) / b makes overtones; so that none of them folds back, it runs at
twice the rate, between a low-pass filter up and the same filter down. Sites: stages.{i}
[B, C_i, T_i], after stage i.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from voxray.config import BigVGANConfig
from voxray.models.layers import same_padding
from voxray.sites import Site


def low_pass(taps: int, cutoff: float, transition: float) -> Tensor:
    """Kaiser-windowed sinc [taps] that sums to 1; frequencies in cycles per sample, taps even."""
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * transition + 7.95  # Kaiser's formula, dB
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    window = torch.kaiser_window(taps, periodic=False, beta=beta)
    time = torch.arange(taps) - (taps - 1) / 2  # no tap stands on 0
    taper = window * torch.sinc(2 * cutoff * time)
    return taper / taper.sum()


class SmoothSnake(nn.Module):
    """Snake activation with learned logarithms of a and b, run at twice the rate; [B, C, T]."""

    filter: Tensor

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.zeros(channels))  # log a
        self.damping = nn.Parameter(torch.zeros(channels))  # log b
        self.register_buffer("filter", low_pass(taps, 0.25, 0.3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self._up(x)  # [B, C, 2T]
        frequency = self.frequency.exp()[:, None]
        damping = self.damping.exp()[:, None]
        x = x + torch.sin(x * frequency).square() / (damping + 1e-9)
        return self._down(x)

    def _kernel(self, x: Tensor) -> Tensor:
        return self.filter.to(x.dtype).expand(x.shape[1], 1, -1)  # [C, 1, taps]

    def _up(self, x: Tensor) -> Tensor:
        taps = len(self.filter)
        reach = taps // 2 - 1
        cut = 2 * reach + (taps - 2) // 2
        padded = F.pad(x, (reach, reach), mode="replicate")
        wide = 2 * F.conv_transpose1d(padded, self._kernel(x), stride=2, groups=x.shape[1])
        return wide[..., cut:-cut]

    def _down(self, x: Tensor) -> Tensor:
        half = len(self.filter) // 2
        padded = F.pad(x, (half - 1, half), mode="replicate")
        return F.conv1d(padded, self._kernel(x), stride=2, groups=x.shape[1])


class ResidualBlock(nn.Module):
    """For each dilation: snake, dilated convolution, snake, convolution, sum."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], taps: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList(_conv(channels, kernel, step) for step in dilations)
        self.narrow = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)
        self.activations = nn.ModuleList(SmoothSnake(channels, taps) for _ in 2 * dilations)

    def forward(self, x: Tensor) -> Tensor:
        for i, (wide, narrow) in enumerate(zip(self.wide, self.narrow, strict=True)):
            hidden = wide(self.activations[2 * i](x))
            x = x + narrow(self.activations[2 * i + 1](hidden))
        return x


def _conv(channels: int, kernel: int, dilation: int) -> nn.Module:
    padding = same_padding(kernel, dilation)
    conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding)
    nn.init.normal_(conv.weight, std=0.01)
    return weight_norm(conv)


class Stage(nn.Module):
    """Upsample by `rate` and halve the channels, then average the residual blocks."""

    def __init__(self, config: BigVGANConfig, index: int) -> None:
        super().__init__()
        rate, kernel = config.rates[index], config.kernels[index]
        channels = config.initial_channels // 2**index
        up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
        nn.init.normal_(up.weight, std=0.01)
        self.up = weight_norm(up)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels // 2, size, config.block_dilations, config.filter_taps)
            for size in config.block_kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)  # [B, C/2, T * rate]
        total = self.blocks[0](x)
        for block in list(self.blocks)[1:]:
            total = total + block(x)
        return total / len(self.blocks)


class BigVGANDecoder(nn.Module):
    """The published vocoder of v3."""

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__()
        if len(config.rates) != len(config.kernels):
            raise ValueError("vocoder config: one kernel per rate is needed")
        self.config = config
        self.before = weight_norm(nn.Conv1d(config.n_mels, config.initial_channels, 7, padding=3))
        self.upsampling = nn.ModuleList(Stage(config, i) for i in range(len(config.rates)))
        last = config.initial_channels // 2 ** len(config.rates)
        self.last_activation = SmoothSnake(last, config.filter_taps)
        self.after = weight_norm(nn.Conv1d(last, 1, 7, padding=3, bias=False))
        self.stages = [Site() for _ in config.rates]  # [B, C_i, T_i]

    @property
    def hop(self) -> int:
        """Samples per input frame."""
        return math.prod(self.config.rates)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.before(mel)  # [B, C, T]
        for stage, site in zip(self.upsampling, self.stages, strict=True):
            x = site(stage(x))
        return self.after(self.last_activation(x)).clamp(-1.0, 1.0)
