"""Posterior encoder of the built-in model: log-mel and F0 -> Gaussian over the latents (training only).

In: wave [B, N] at 24 kHz, N a multiple of 480, and its F0 [B, 2T] in Hz. Out: mean, log-std [B, Z, T]
at 50 Hz. Two 10 ms frames make one latent frame. The first four latents are pitch, made explicit: twice
the octaves above 150 Hz and the voicing (1 or -1) of both frames. The rest begins as the principal
components of the log-mel, each of unit variance: the optimum of a linear VAE (Lucas et al. 2019, arXiv
1911.02469, eq. 6). A residual network of kernel-3 blocks, zero at first, may move them when all is tuned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.config import MelPosteriorConfig
from voxray.models.blocks import ShiftBlock

RATE, HOP = 24_000, 240
REFERENCE_HZ = 150.0
PITCH_LATENTS = 4
OCTAVE_SCALE = 2.0  # latents per octave
PITCH_LOG_STD = -3.5


class LinearLatents(nn.Module):
    """Wave and F0 -> pitch latents and principal components of the log-mel, [B, Z, T]."""

    bank: Tensor
    centre: Tensor
    analysis: Tensor

    def __init__(self, config: MelPosteriorConfig) -> None:
        super().__init__()
        self.config = config
        mels, shape = 2 * config.n_mels, config.latent_channels - PITCH_LATENTS
        self.register_buffer("centre", torch.zeros(mels))
        self.register_buffer("analysis", torch.eye(mels)[:, :shape].contiguous())  # [2M, Z - 4]
        bank = mel_filterbank(RATE, config.n_fft, config.n_mels)
        self.register_buffer("bank", bank, persistent=False)

    def mel(self, wave: Tensor) -> Tensor:
        """Wave [B, N] -> log-mel [B, 2T, M], about zero mean and unit scale."""
        window = torch.hann_window(self.config.n_fft, device=wave.device)
        bins = torch.stft(wave, self.config.n_fft, HOP, window=window, return_complex=True)
        level = (self.bank @ bins.abs()[..., :-1]).clamp_min(1e-5).log()
        return ((level + 5.0) / 3.0).transpose(1, 2)

    def pairs(self, wave: Tensor) -> Tensor:
        """Wave [B, N] -> log-mel of two frames side by side [B, T, 2M]."""
        mel = self.mel(wave)
        return mel.reshape(mel.shape[0], mel.shape[1] // 2, -1)

    def components(self, mel: Tensor) -> Tensor:
        """Log-mel pairs [B, T, 2M] -> principal components [B, T, Z - 4]."""
        with torch.autocast(mel.device.type, enabled=False):
            return (mel.float() - self.centre) @ self.analysis

    def linear(self, wave: Tensor, f0: Tensor) -> Tensor:
        """Wave [B, N] and F0 [B, 2T] in Hz -> latents [B, Z, T]."""
        both = torch.cat([pitch_latents(f0), self.components(self.pairs(wave))], dim=2)
        return both.transpose(1, 2)

    @torch.no_grad()
    def same_as(self, other: LinearLatents) -> None:
        """Take another's components."""
        self.centre.copy_(other.centre)
        self.analysis.copy_(other.analysis)


class MelPosterior(LinearLatents):
    """Wave and F0 -> mean and log-std of the latents."""

    log_std: Tensor

    def __init__(self, config: MelPosteriorConfig) -> None:
        super().__init__(config)
        mels, shape = 2 * config.n_mels, config.latent_channels - PITCH_LATENTS
        self.enter = nn.Linear(mels, config.width)
        self.blocks = nn.ModuleList(ShiftBlock(config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, shape + config.latent_channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("log_std", torch.full((config.latent_channels,), -2.0))

    @property
    def synthesis(self) -> Tensor:
        """The way back from the latents behind the pitch to the log-mel: [Z - 4, 2M]."""
        return (self.analysis / self.analysis.square().sum(0)).t()

    @torch.no_grad()
    def fit(self, waves: Tensor, noise: float = 0.1) -> Tensor:
        """Principal components of waves [B, N]; returns the way back, [Z - 4, 2M].

        `noise` is the posterior's standard deviation in units of the log-mel, at most that of the latent.
        """
        frames = self.pairs(waves).flatten(0, 1).double()  # [B T, 2M]
        centre = frames.mean(0)
        power, axes = torch.linalg.eigh(torch.cov((frames - centre).t()))
        shape = self.analysis.shape[1]
        spread = power.flip(0)[:shape].clamp_min(1e-8).sqrt()  # [Z - 4]
        axes = axes.flip(1)[:, :shape]  # [2M, Z - 4]
        self.centre.copy_(centre)
        self.analysis.copy_(axes / spread)
        self.log_std[:PITCH_LATENTS] = PITCH_LOG_STD
        self.log_std[PITCH_LATENTS:] = (noise / spread).clamp_max(1.0).log()
        return (axes * spread).t().float()

    def forward(self, wave: Tensor, f0: Tensor, moved: bool = True) -> tuple[Tensor, Tensor]:
        """Wave [B, N] and F0 [B, 2T] in Hz -> mean, log-std [B, Z, T]; without the network if not `moved`."""
        mel = self.pairs(wave)  # [B, T, 2M]
        mean = self.components(mel)
        log_std = self.log_std.expand(*mean.shape[:2], -1)  # [B, T, Z]
        if moved:
            shape = mean.shape[2]
            shift = self._shift(mel)
            mean, log_std = mean + shift[..., :shape], log_std + shift[..., shape:]
        mean = torch.cat([pitch_latents(f0), mean], dim=2)
        return mean.transpose(1, 2), log_std.transpose(1, 2).clamp(-6.0, 2.0)

    def _shift(self, mel: Tensor) -> Tensor:
        """What the network adds: [B, T, 2M] -> [B, T, (Z - 4) + Z]."""
        x = self.enter(mel)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x)).float()


def pitch_latents(f0: Tensor) -> Tensor:
    """F0 [B, 2T] in Hz (0: unvoiced) -> [B, T, 4]: scaled octaves, carried through gaps, and voicing."""
    voiced = f0 > 0
    octaves = torch.log2(f0.clamp_min(30.0) / REFERENCE_HZ)
    filled = _bridged(octaves, voiced) * OCTAVE_SCALE
    pairs = [x.reshape(len(f0), -1, 2) for x in (filled, 2.0 * voiced.to(f0) - 1.0)]
    return torch.cat(pairs, dim=2)


def _bridged(values: Tensor, known: Tensor) -> Tensor:
    """Straight lines between the known values of each row [B, T], level beyond them; 0 where none is."""
    size = values.shape[1]
    place = torch.arange(size, device=values.device).expand_as(values)
    before = torch.where(known, place, -1).cummax(1).values  # [B, T]
    after = torch.where(known, place, size).flip(1).cummin(1).values.flip(1)
    left = torch.where(before < 0, after, before).clamp_max(size - 1)
    right = torch.where(after >= size, before, after).clamp_min(0)
    share = (place - left) / (right - left).clamp_min(1)
    low, high = values.gather(1, left), values.gather(1, right)
    return torch.where(known.any(1, keepdim=True), low + (high - low) * share, 0.0)


def read_pitch(z: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, T, Z] -> octaves above 150 Hz and voicing (above 0: voiced), [B, 2T] each."""
    octaves = z[..., :2].flatten(1).float() / OCTAVE_SCALE
    return octaves, z[..., 2:PITCH_LATENTS].flatten(1).float()
