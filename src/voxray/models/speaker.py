"""Reference spectrogram -> one speaker vector (the style encoder of Meta-StyleSpeech).

In: spectrogram [B, bins, T] of the reference (the first `input_bins` of it are used) and lengths
[B]. Out: vector [B, G, 1]. Two linear maps, two gated convolutions, one self-attention, then the
mean over valid frames. Sites: attn.* (as `Attention`), vector [B, G, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.config import SpeakerConfig
from voxray.models.attention import Attention
from voxray.models.layers import length_mask, same_padding
from voxray.sites import Site


class GatedConv(nn.Module):
    """Residual convolution whose second half gates the first; [B, C, T] -> [B, C, T]."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, kernel, padding=same_padding(kernel))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        signal, gate = self.conv(x).chunk(2, dim=1)
        return x + self.dropout(signal * gate.sigmoid())


class SpeakerEncoder(nn.Module):
    """Who speaks, as one vector."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.spectral = nn.Sequential(
            nn.Linear(config.input_bins, hidden),
            nn.Mish(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.Mish(),
            nn.Dropout(config.dropout),
        )
        self.temporal = nn.ModuleList(
            GatedConv(hidden, config.kernel, config.dropout) for _ in range(config.layers)
        )
        self.attn = Attention(hidden, config.heads, temperature=hidden**0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(hidden, config.speaker_width)
        self.vector = Site()  # [B, G, 1]

    def forward(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, >= bins, T], lengths [B] (None: all frames are valid) -> [B, G, 1]."""
        x = spectrogram[:, : self.config.input_bins]
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[2], device=x.device)
        mask = length_mask(lengths, x.shape[2])  # [B, 1, T]
        x = self.spectral((x * mask).transpose(1, 2)).transpose(1, 2)  # [B, D, T]
        inner = mask if self.config.mask_convolutions else torch.ones_like(mask)
        for conv in self.temporal:
            x = conv(x * inner)
        x = (x * mask).transpose(1, 2)  # [B, T, D]
        x = x + self.dropout(self.attn(x, mask=mask[:, None].bool()))
        frames = self.project(x).float() * mask.transpose(1, 2)  # [B, T, G]
        return self.vector((frames.sum(1) / mask.sum(2))[:, :, None])
