"""Who speaks, by a network that was trained to tell speakers apart (ERes2NetV2).

In: Kaldi filter banks [B, T, 80] (or, by `embed`, waves [B, N] at 16 kHz). Out: embedding
[B, 20480]: the fused map of the last two stages, flattened over channels and bands and averaged
over time; the pooling and the last map of the published file are not used. Chen et al.,
"ERes2NetV2: Boosting Short-Duration Speaker Verification Performance with Computational
Efficiency", Interspeech 2024. Sites: layers.{i} [B, C, F, T], fused [B, C, F, T], embedding [B, E].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from voxray.audio.kaldi import fbank
from voxray.config import SpeakerVerificationConfig
from voxray.sites import Site


def _clipped(x: Tensor) -> Tensor:
    return x.clamp(0.0, 20.0)


class Fusion(nn.Module):
    """Weighs two feature maps against each other, position by position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.balance = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Two [B, C, F, T] -> one."""
        lean = self.balance(torch.cat([one, other], 1)).tanh()
        return one * (1 + lean) + other * (1 - lean)


class Block(nn.Module):
    """Residual block whose `scale` channel groups see each other one after the other.

    [B, inputs, F, T] -> [B, outputs, F / stride, T / stride]; a group has `width` channels.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, *, scale: int, stride: int, fused: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Conv2d(inputs, width * scale, 1, stride, bias=False)
        self.enter_norm = nn.BatchNorm2d(width * scale)
        self.groups = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(scale)
        )
        self.group_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale))
        self.fusions = nn.ModuleList(Fusion(width) for _ in range(scale - 1) if fused)
        self.leave = nn.Conv2d(width * scale, outputs, 1, bias=False)
        self.leave_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        groups = _clipped(self.enter_norm(self.enter(x))).split(self.width, 1)
        made: list[Tensor] = []
        for i, group in enumerate(groups):
            if made:
                join = self.fusions[i - 1] if len(self.fusions) else torch.add
                group = join(made[-1], group)
            made.append(_clipped(self.group_norms[i](self.groups[i](group))))
        return _clipped(self.leave_norm(self.leave(torch.cat(made, 1))) + self.shortcut(x))


def stage(
    inputs: int, width: int, outputs: int, *, scale: int, count: int, stride: int, fused: bool
) -> nn.Sequential:
    """`count` blocks, the first of which may shrink the map."""
    blocks = [Block(inputs, width, outputs, scale=scale, stride=stride, fused=fused)]
    blocks += [
        Block(outputs, width, outputs, scale=scale, stride=1, fused=fused) for _ in range(count - 1)
    ]
    return nn.Sequential(*blocks)


class SpeakerVerifier(nn.Module):
    """Four stages; the last two are fused. Frozen: run it in eval mode."""

    def __init__(self, config: SpeakerVerificationConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(1, config.channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.channels)
        self.stages = nn.ModuleList()
        channels = config.channels
        for i, count in enumerate(config.blocks):
            planes = config.channels * 2**i
            width, outputs = planes * config.base_width // 64, planes * config.expansion
            shape = {"scale": config.scale, "count": count, "stride": 2 if i else 1}
            self.stages.append(stage(channels, width, outputs, fused=i >= 2, **shape))
            channels = outputs
        self.shrink = nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False)
        self.fusion = Fusion(channels)
        self.layers = [Site() for _ in config.blocks]  # [B, C, F, T], F and T halved from the 2nd
        self.fused = Site()  # [B, 32 * channels, 10, T / 8]
        self.embedding = Site()  # [B, E]

    def forward(self, features: Tensor) -> Tensor:
        """Filter banks [B, T, 80], their mean left in -> embedding [B, E], E = 20480 as published."""
        x = features.transpose(1, 2).unsqueeze(1)  # [B, 1, 80, T]
        x = self.stem_norm(self.stem(x)).relu()
        before = x
        for layer, site in zip(self.stages, self.layers):
            before, x = x, site(layer(x))
        fused = self.fused(self.fusion(x, self.shrink(before)))
        return self.embedding(fused.flatten(1, 2).mean(-1))

    def embed(self, waves: Tensor) -> Tensor:
        """Waves [B, N] at 16 kHz, full scale 1 -> embedding [B, E]; no gradient to the waves."""
        rows = waves.detach().cpu().numpy()
        features = np.stack([fbank(row, centred=False) for row in rows])
        return self(torch.from_numpy(features).to(self.stem.weight))
