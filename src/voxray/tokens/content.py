"""Content encoder: 16 kHz speech -> one 384-d vector per 20 ms that says what is spoken, and how.

In: wave [B, N] at 16 kHz. Out: features [B, T, D], T = N // 320. Log-mel front end, two
convolutions, transformer blocks (the encoder half of Radford et al. 2022, arXiv 2212.04356, at its
smallest size; the built-in weights start from that model's tiny English encoder, MIT, and are
trained on with frame labels). `Readout` decodes tokens back to phonemes, F0 and energy: the loss
that shapes the codes, and the probe that shows what they hold.
Sites: blocks.{i}.attn.*, blocks.{i}.resid, features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.config import ContentConfig
from voxray.models.attention import Attention
from voxray.models.blocks import ShiftBlock
from voxray.sites import Site

RATE, N_FFT, HOP = 16_000, 400, 160


class ContentBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        width = config.width
        self.attn_norm = nn.LayerNorm(width)
        self.attn = Attention(width, config.n_head)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.resid = Site()  # [B, T, D]

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attn(self.attn_norm(x), mask=mask)
        x = x + self.narrow(F.gelu(self.widen(self.mlp_norm(x))))
        return self.resid(x)


class ContentEncoder(nn.Module):
    """Speech to content features; `trunk` and `top` are its halves, so that training can cache one."""

    mel_bank: Tensor
    positions: Tensor

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(ContentBlock(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.width)
        self.features = Site()  # [B, T, D]
        self.register_buffer("mel_bank", mel_filterbank(RATE, N_FFT, config.n_mels), False)
        self.register_buffer("positions", sinusoids(config.max_frames, config.width), False)

    def mel(self, wave: Tensor) -> Tensor:
        """Wave [B, N] -> normalised log-mel [B, M, N // 160]."""
        window = torch.hann_window(N_FFT, device=wave.device)
        bins = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True)[..., :-1]
        power = bins.real.square() + bins.imag.square()
        level = (self.mel_bank @ power).clamp_min(1e-10).log10()
        top = level.amax(dim=(1, 2), keepdim=True)
        return (level.maximum(top - 8.0) + 4.0) / 4.0

    def trunk(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mel [B, M, 2T] -> hidden [B, T, D] after the first `frozen_layers` blocks."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)  # [B, T, D]
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks[: self.config.frozen_layers]:
            x = block(x, mask)
        return x

    def top(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden [B, T, D] -> features [B, T, D]."""
        for block in self.blocks[self.config.frozen_layers :]:
            hidden = block(hidden, mask)
        return self.features(self.norm(hidden))

    def forward(self, wave: Tensor) -> Tensor:
        """Wave [B, N] at 16 kHz, at most 30 s -> features [B, N // 320, D]."""
        return self.top(self.trunk(self.mel(wave)))


class Readout(nn.Module):
    """Quantised content at 25 Hz -> phoneme, pitch and energy at 50 Hz (training and probing)."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.lift = nn.Linear(config.code_width, 2 * config.readout_width)
        self.blocks = nn.ModuleList(ShiftBlock(config.readout_width) for _ in range(3))
        self.phones = nn.Linear(config.readout_width, config.text_symbols)
        self.prosody = nn.Linear(config.readout_width, 3)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, C] -> phoneme logits [B, 2S, symbols], (log-F0, voicing, energy) [B, 2S, 3]."""
        x = self.lift(codes).reshape(codes.shape[0], 2 * codes.shape[1], -1)  # [B, 2S, D]
        for block in self.blocks:
            x = block(x)
        return self.phones(x), self.prosody(x)


def sinusoids(length: int, width: int) -> Tensor:
    """Sines of geometrically spaced frequencies, then their cosines: [length, width]."""
    rate = torch.exp(-torch.arange(width // 2) * (torch.log(torch.tensor(1e4)) / (width // 2 - 1)))
    angle = torch.arange(length)[:, None] * rate[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)
