"""Latents -> waveform by transposed convolutions (HiFi-GAN, Kong et al. 2020).

In: latents or mel [B, C, T], speaker [B, G, 1] (or none). Out: waveform [B, 1, T * hop] in
[-1, 1], hop = product of the rates. Each stage upsamples and averages residual blocks of
different kernels. Sites: stages.{i} [B, C_i, T_i], after stage i.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from voxray.config import HifiganConfig
from voxray.models.layers import Pointwise, fuse_weight_norm, same_padding
from voxray.models.packed_conv import PackedConv, pack_convs
from voxray.sites import Site

SLOPE = 0.1
# Frames at once, packed. In bf16 a length that is seen for the first time costs more than its sound; in
# float32 a long one takes a gigabyte.
BLOCKS = {torch.bfloat16: (96, 48), torch.float32: (192,)}


class ResidualBlock(nn.Module):
    """For each dilation: leaky ReLU, dilated convolution, leaky ReLU, convolution, sum."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.wide = nn.ModuleList(_conv(channels, kernel, step) for step in dilations)
        self.narrow = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            hidden = wide(F.leaky_relu(x, SLOPE))
            x = narrow(F.leaky_relu_(hidden, SLOPE)).add_(x)
        return x


def _conv(channels: int, kernel: int, dilation: int) -> nn.Module:
    padding = same_padding(kernel, dilation)
    conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding)
    nn.init.normal_(conv.weight, std=0.01)
    return weight_norm(conv)


class Stage(nn.Module):
    """Upsample by `rate` and halve the channels, then average the residual blocks."""

    def __init__(self, config: HifiganConfig, index: int) -> None:
        super().__init__()
        rate, kernel = config.rates[index], config.kernels[index]
        channels = config.initial_channels // 2**index
        up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
        nn.init.normal_(up.weight, std=0.01)
        self.up = weight_norm(up)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels // 2, size, config.block_dilations)
            for size in config.block_kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(F.leaky_relu(x, SLOPE))  # [B, C/2, T * rate]
        total = self.blocks[0](x)
        for block in list(self.blocks)[1:]:
            total += block(x)
        return total.div_(len(self.blocks))


class HifiganDecoder(nn.Module):
    """The published decoder; without a speaker width it is a plain vocoder."""

    def __init__(self, config: HifiganConfig) -> None:
        super().__init__()
        if len(config.rates) != len(config.kernels):
            raise ValueError("decoder config: one kernel per rate is needed")
        self.config = config
        self.before: nn.Conv1d | PackedConv = nn.Conv1d(
            config.input_channels, config.initial_channels, 7, padding=3
        )
        self.condition = (
            Pointwise(config.speaker_width, config.initial_channels)
            if config.speaker_width
            else None
        )
        self.upsampling = nn.ModuleList(Stage(config, i) for i in range(len(config.rates)))
        last = config.initial_channels // 2 ** len(config.rates)
        self.after = nn.Conv1d(last, 1, 7, padding=3, bias=config.final_bias)
        self.stages = [Site() for _ in config.rates]  # [B, C_i, T_i]

    @property
    def hop(self) -> int:
        """Samples per input frame."""
        return math.prod(self.config.rates)

    @property
    def reach(self) -> int:
        """How many input frames to either side a sample depends on."""
        config = self.config
        block = (max(config.block_kernels) // 2) * sum(step + 1 for step in config.block_dilations)
        frames, scale = 3.0, 1  # of the first convolution; samples a frame
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            frames += (kernel / rate + 1) / 2 / scale
            scale *= rate
            frames += block / scale
        return math.ceil(frames + 3 / scale)

    def forward(self, z: Tensor, speaker: Tensor | None = None) -> Tensor:
        size = self._at_once(z.shape[2])
        return self._sound(z, speaker) if size is None else self._in_blocks(z, speaker, size)

    def _at_once(self, frames: int) -> int | None:
        """How many frames to compute at once; None: all."""
        if not isinstance(self.before, PackedConv) or any(site.live for site in self.stages):
            return None
        sizes = BLOCKS[self.before.weight.dtype]
        fitting = [size for size in sizes if 2 * self.reach < size <= frames]
        return fitting[0] if fitting else None

    def _in_blocks(self, z: Tensor, speaker: Tensor | None, size: int) -> Tensor:
        """The same samples, from blocks of z that overlap as far as a sample depends on frames."""
        parts, done, frames = [], 0, z.shape[2]
        while done < frames:
            start = max(0, min(done - self.reach, frames - size))
            end = frames if start + size == frames else start + size - self.reach
            wave = self._sound(z[:, :, start : start + size], speaker)
            parts.append(wave[:, :, (done - start) * self.hop : (end - start) * self.hop])
            done = end
        return torch.cat(parts, dim=2)  # [B, 1, T * hop]

    def _sound(self, z: Tensor, speaker: Tensor | None) -> Tensor:
        kind = self.before.weight.dtype
        x = self.before(z.to(kind))  # [B, C, T]
        if self.condition is not None and speaker is not None:
            x = x + self.condition(speaker.to(kind))
        for stage, site in zip(self.upsampling, self.stages, strict=True):
            x = site(stage(x))
        x = F.leaky_relu(x).to(self.after.weight.dtype)
        return torch.tanh(self.after(x))  # the last slope is .01, as published

    def pack(self, kind: torch.dtype) -> None:
        """For speaking only: compute in `kind`, the last convolution in float32; sound comes out as float32."""
        fuse_weight_norm(self)
        pack_convs(self.upsampling, kind)
        if isinstance(self.before, nn.Conv1d):
            self.before = PackedConv(self.before, kind)
        if self.condition is not None:
            self.condition.to(kind)

    def speak(self, z: Tensor, speaker: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As `IstftDecoder.speak`; no noise is used and no F0 known ([B, 0])."""
        return self(z, speaker[..., None])[:, 0], z.new_zeros(z.shape[0], 0)
