"""Posterior encoder of the built-in model: log-mel -> Gaussian over the latents (training only).

In: wave [B, N] at 24 kHz, N a multiple of 480. Out: mean, log-std [B, Z, T] at 50 Hz. Two 10 ms mel
frames make one latent frame; kernel-3 residual blocks written as matrix products.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.config import MelPosteriorConfig
from voxray.models.blocks import ShiftBlock

RATE, HOP = 24_000, 240


class MelPosterior(nn.Module):
    """Wave -> mean and log-std of the latents."""

    bank: Tensor

    def __init__(self, config: MelPosteriorConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(2 * config.n_mels, config.width)
        self.blocks = nn.ModuleList(ShiftBlock(config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, 2 * config.latent_channels)
        bank = mel_filterbank(RATE, config.n_fft, config.n_mels)
        self.register_buffer("bank", bank, persistent=False)

    def mel(self, wave: Tensor) -> Tensor:
        """Wave [B, N] -> log-mel [B, 2T, M], about zero mean and unit scale."""
        window = torch.hann_window(self.config.n_fft, device=wave.device)
        bins = torch.stft(wave, self.config.n_fft, HOP, window=window, return_complex=True)
        level = (self.bank @ bins.abs()[..., :-1]).clamp_min(1e-5).log()
        return ((level + 5.0) / 3.0).transpose(1, 2)

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        mel = self.mel(wave)
        x = self.enter(mel.reshape(mel.shape[0], mel.shape[1] // 2, -1))  # [B, T, D]
        for block in self.blocks:
            x = block(x)
        mean, log_std = self.leave(self.norm(x)).float().transpose(1, 2).chunk(2, dim=1)
        return mean, log_std.clamp(-6.0, 2.0)  # 2 x [B, Z, T]
