"""ERes2Net, a speaker judge: features [B, T, 80] -> embeddings [B, 192].

Chen et al., "An Enhanced Res2Net with Local and Global Feature Fusion for Speaker Verification",
Interspeech 2023. Written to the shapes and names of the published VoxCeleb checkpoint (3D-Speaker,
Apache-2.0), which `fetch` puts into the judges' folder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 2  # groups that a block splits its channels into


def _clipped(x: Tensor) -> Tensor:
    return x.clamp(0.0, 20.0)


class Fusion(nn.Module):
    """Weighs two feature maps against each other, position by position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Two [B, C, F, T] -> one."""
        lean = self.local_att(torch.cat([one, other], 1)).tanh()
        return one * (1 + lean) + other * (1 - lean)


class Block(nn.Module):
    """Residual block whose channel groups see each other one after the other."""

    def __init__(self, inputs: int, planes: int, stride: int, *, fused: bool) -> None:
        super().__init__()
        width = planes // 2
        self.width = width
        self.conv1 = nn.Conv2d(inputs, width * SCALE, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALE)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(SCALE)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALE))
        self.fuse_models = nn.ModuleList(Fusion(width) for _ in range(SCALE - 1) if fused)
        self.conv3 = nn.Conv2d(width * SCALE, 2 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 2 * planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 2 * planes, 1, stride, bias=False), nn.BatchNorm2d(2 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, F, T] -> [B, 2 * planes, F / stride, T / stride]."""
        groups = _clipped(self.bn1(self.conv1(x))).split(self.width, 1)
        made: list[Tensor] = []
        for i, group in enumerate(groups):
            if made:
                fuse = self.fuse_models[i - 1] if len(self.fuse_models) else torch.add
                group = fuse(made[-1], group)
            made.append(_clipped(self.bns[i](self.convs[i](group))))
        return _clipped(self.bn3(self.conv3(torch.cat(made, 1))) + self.shortcut(x))


class ERes2Net(nn.Module):
    """Four stages, each stage's output fused with the next one's, pooled by mean and deviation."""

    def __init__(self, channels: int = 32, mels: int = 80, width: int = 192) -> None:
        super().__init__()
        c = channels
        self.conv1 = nn.Conv2d(1, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.layer1 = _stage(c, c, 3, 1, fused=False)
        self.layer2 = _stage(2 * c, 2 * c, 4, 2, fused=False)
        self.layer3 = _stage(4 * c, 4 * c, 6, 2, fused=True)
        self.layer4 = _stage(8 * c, 8 * c, 3, 2, fused=True)
        self.layer1_downsample = nn.Conv2d(2 * c, 4 * c, 3, 2, 1, bias=False)
        self.layer2_downsample = nn.Conv2d(4 * c, 8 * c, 3, 2, 1, bias=False)
        self.layer3_downsample = nn.Conv2d(8 * c, 16 * c, 3, 2, 1, bias=False)
        self.fuse_mode12 = Fusion(4 * c)
        self.fuse_mode123 = Fusion(8 * c)
        self.fuse_mode1234 = Fusion(16 * c)
        self.seg_1 = nn.Linear(2 * 16 * c * (mels // 8), width)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, T, 80] with their mean removed -> embeddings [B, 192]."""
        x = self.bn1(self.conv1(features.transpose(1, 2).unsqueeze(1))).relu()  # [B, C, 80, T]
        first = self.layer1(x)
        second = self.layer2(first)
        fused = self.fuse_mode12(second, self.layer1_downsample(first))
        third = self.layer3(second)
        fused = self.fuse_mode123(third, self.layer2_downsample(fused))
        fourth = self.layer4(third)
        fused = self.fuse_mode1234(fourth, self.layer3_downsample(fused))  # [B, 16 C, 10, T / 8]
        mean = fused.mean(-1).flatten(1)
        deviation = (fused.var(-1) + 1e-8).sqrt().flatten(1)
        return self.seg_1(torch.cat([mean, deviation], 1))


def _stage(inputs: int, planes: int, count: int, stride: int, *, fused: bool) -> nn.Sequential:
    blocks = [Block(inputs, planes, stride, fused=fused)]
    blocks += [Block(2 * planes, planes, 1, fused=fused) for _ in range(count - 1)]
    return nn.Sequential(*blocks)
