"""Discriminators: is this waveform [B, 1, N] real? Training only.

`WaveDiscriminators` is the published family (HiFi-GAN: one on the waveform, one per period);
`SpectralDiscriminators` is a small set on spectrograms of several resolutions (UnivNet, Jang et
al. 2021), cheap enough for a CPU. Both give one `Judgement` per discriminator; the last feature
map is the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from voxray.config import SpectralDiscriminatorConfig, WaveDiscriminatorConfig

SLOPE = 0.1


@dataclass
class Judgement:
    """Flat logits [B, M] (higher: more real) and the feature maps for feature matching."""

    logits: Tensor
    features: list[Tensor]


def _judge(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        features.append(x)
    x = last(x)
    return Judgement(x.flatten(1), [*features, x])


class ScaleDiscriminator(nn.Module):
    """Grouped, strided convolutions on the raw waveform."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = [max(4, width // 64), max(4, width // 16), max(4, width // 4), width, width]
        groups = [max(1, before // 4) for before in w[:4]]
        convs = [nn.Conv1d(1, w[0], 15, 1, padding=7)]
        convs += [nn.Conv1d(w[i], w[i + 1], 41, 4, groups=groups[i], padding=20) for i in range(4)]
        convs.append(nn.Conv1d(width, width, 5, 1, padding=2))
        self.convs = nn.ModuleList(weight_norm(conv) for conv in convs)
        self.last = weight_norm(nn.Conv1d(width, 1, 3, 1, padding=1))

    def forward(self, wave: Tensor) -> Judgement:
        return _judge(wave, self.convs, self.last)


class PeriodDiscriminator(nn.Module):
    """Folds the waveform into rows of one period and looks down the columns."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        w = [1, width // 32, width // 8, width // 2, width]
        convs = [nn.Conv2d(w[i], w[i + 1], (5, 1), (3, 1), padding=(2, 0)) for i in range(4)]
        convs.append(nn.Conv2d(width, width, (5, 1), 1, padding=(2, 0)))
        self.convs = nn.ModuleList(weight_norm(conv) for conv in convs)
        self.last = weight_norm(nn.Conv2d(width, 1, (3, 1), 1, padding=(1, 0)))

    def forward(self, wave: Tensor) -> Judgement:
        missing = -wave.shape[2] % self.period
        if missing:
            wave = F.pad(wave, (0, missing), "reflect")
        return _judge(wave.unflatten(2, (-1, self.period)), self.convs, self.last)


class WaveDiscriminators(nn.Module):
    """The published set; [B, 1, N] -> one judgement per discriminator."""

    def __init__(self, config: WaveDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        parts: list[nn.Module] = [ScaleDiscriminator(config.width)]
        parts += [PeriodDiscriminator(period, config.width) for period in config.periods]
        self.discriminators = nn.ModuleList(parts)

    def forward(self, wave: Tensor) -> list[Judgement]:
        return [judge(wave) for judge in self.discriminators]


class SpectralDiscriminator(nn.Module):
    """2-D convolutions on a compressed magnitude spectrogram, striding over frequency."""

    window: Tensor

    def __init__(self, size: int, hop: int, channels: int, layers: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        widths = [1] + [channels] * layers
        convs = [
            nn.Conv2d(before, after, (5, 3), (2, 1), padding=(2, 1))
            for before, after in pairwise(widths)
        ]
        self.convs = nn.ModuleList(weight_norm(conv) for conv in convs)
        self.last = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Judgement:
        spectrum = torch.stft(
            wave[:, 0].float(), self.size, self.hop, window=self.window, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()  # [B, F, T]
        # power 0.15: loud and soft parts both count, and the gradient stays finite at silence
        return _judge((power + 1e-7).pow(0.15)[:, None], self.convs, self.last)


class SpectralDiscriminators(nn.Module):
    """Small set for training on a CPU; [B, 1, N] -> one judgement per resolution, and per period where there are some."""

    def __init__(self, config: SpectralDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        parts: list[nn.Module] = [
            SpectralDiscriminator(size, hop, config.channels, config.layers)
            for size, hop in config.resolutions
        ]
        if config.periods:
            parts.append(ScaleDiscriminator(config.width))
        parts += [PeriodDiscriminator(period, config.width) for period in config.periods]
        self.discriminators = nn.ModuleList(parts)

    def forward(self, wave: Tensor) -> list[Judgement]:
        return [judge(wave) for judge in self.discriminators]
