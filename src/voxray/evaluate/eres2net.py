"""ERes2Net, a speaker judge: features [B, T, 80] -> embeddings [B, 192].

Chen et al., "An Enhanced Res2Net with Local and Global Feature Fusion for Speaker Verification",
Interspeech 2023. Written to the shapes of the published VoxCeleb checkpoint (3D-Speaker,
Apache-2.0), which `fetch` puts into the judges' folder. Its blocks are those of the published
models' speaker network, with two groups instead of four.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.models.speaker_verification import Fusion, stage

SCALE = 2  # groups that a block splits its channels into


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
    return stage(
        inputs, planes // 2, 2 * planes, scale=SCALE, count=count, stride=stride, fused=fused
    )
