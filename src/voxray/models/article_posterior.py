"""Posterior encoder of the `article` preset: mel -> label-free units -> Gaussian latents.

In: mel spectrogram [B, bins, T], lengths [B]. Two convolutions with BatchNorm and LeakyReLU (the
second with stride 2), a GRU 192 -> 128, a 100-entry quantiser trained by moving averages without
labels, then a Gaussian head. Out at half the rate: z [B, Z, ceil(T/2)], codes [B, ceil(T/2)].
Sites: units [B, U, T'] (after the quantiser), mean, log_std.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import ArticlePosteriorConfig
from voxray.models.layers import Pointwise, length_mask, same_padding
from voxray.models.posterior import PosteriorOutput, draw
from voxray.sites import Site


class UnitQuantiser(nn.Module):
    """Nearest code of a small codebook that follows its members (van den Oord et al. 2017)."""

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: ArticlePosteriorConfig) -> None:
        super().__init__()
        self.config = config
        start = torch.randn(config.codebook_size, config.gru_width) * config.gru_width**-0.5
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(config.codebook_size))
        self.register_buffer("sums", start.clone())

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, U, T], mask [B, 1, T] -> quantised [B, U, T], codes [B, T], commitment loss."""
        frames = x.transpose(1, 2).float()  # [B, T, U]
        valid = mask[:, 0].bool()  # [B, T]
        distance = torch.cdist(frames.detach(), self.codebook.expand(x.shape[0], -1, -1))
        codes = distance.argmin(2)  # [B, T]
        if self.training:
            nearest = distance.min(2).values[valid]
            self._follow(frames.detach()[valid], codes[valid], nearest)
        chosen = F.embedding(codes, self.codebook)  # [B, T, U]
        commitment = F.mse_loss(frames[valid], chosen[valid]) * self.config.commitment
        passed = frames + (chosen - frames).detach()  # straight-through gradient
        return passed.transpose(1, 2).to(x.dtype), codes, commitment

    @torch.no_grad()
    def _follow(self, frames: Tensor, codes: Tensor, distance: Tensor) -> None:
        """Move every code to the mean of its members [N, U]; unused ones to far-off frames."""
        member = F.one_hot(codes, self.config.codebook_size).float()  # [N, K]
        decay = self.config.decay
        self.counts.mul_(decay).add_(member.sum(0), alpha=1 - decay)
        self.sums.mul_(decay).add_(member.t() @ frames, alpha=1 - decay)
        dead = (self.counts < self.config.dead_below).nonzero()[:, 0]
        dead = dead[: frames.shape[0]]
        if len(dead):
            self.sums[dead] = frames[distance.topk(len(dead)).indices]
            self.counts[dead] = 1.0
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])


class ArticlePosterior(nn.Module):
    """Convolutions, GRU, quantiser, Gaussian head; takes no speaker vector."""

    def __init__(self, config: ArticlePosteriorConfig) -> None:
        super().__init__()
        self.config = config
        width, padding = config.conv_width, same_padding(config.kernel)
        self.conv = nn.Sequential(
            nn.Conv1d(config.input_bins, width, config.kernel, padding=padding),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(0.1),
        )
        self.halve = nn.Sequential(
            nn.Conv1d(width, width, config.kernel, stride=2, padding=padding),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(0.1),
        )
        self.gru = nn.GRU(width, config.gru_width, batch_first=True)
        self.quantiser = UnitQuantiser(config)
        self.project = Pointwise(config.gru_width, 2 * config.latent_channels)
        self.units = Site()  # [B, U, T']
        self.mean, self.log_std = Site(), Site()  # [B, Z, T']

    def forward(
        self, spectrogram: Tensor, lengths: Tensor, noise: Tensor | None = None
    ) -> PosteriorOutput:
        """noise [B, Z, ceil(T/2)] is drawn by the caller; None gives the mean."""
        mask = length_mask(lengths, spectrogram.shape[2])
        x = self.conv(spectrogram * mask) * mask  # [B, C, T]
        x = self.halve(x)  # [B, C, T']
        mask = length_mask((lengths + 1) // 2, x.shape[2])
        hidden, _ = self.gru((x * mask).transpose(1, 2))  # [B, T', U]
        units, codes, commitment = self.quantiser(hidden.transpose(1, 2), mask)
        mean, log_std = (self.project(self.units(units)) * mask).chunk(2, dim=1)
        mean, log_std = self.mean(mean), self.log_std(log_std)
        z = draw(mean, log_std, mask, noise)
        return PosteriorOutput(z, mean, log_std, mask, codes, commitment)
