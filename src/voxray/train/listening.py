"""Losses of who listens: a speaker encoder and the content encoder, both standing still, hear the wave that is made; and
whether it sounds as it was told to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS, LinearLatents
from voxray.tokens.content import ContentEncoder
from voxray.tokens.quantiser import Quantiser

from .feed import half


def likeness_loss(teacher: nn.Module, made: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of what the teacher hears in waves [B, N] at 24 kHz and the speakers' targets [B, E]."""
    return 1.0 - torch.cosine_similarity(teacher(lowered(made)), target, dim=1).mean()


def lowered(wave: Tensor) -> Tensor:
    """Waves [B, N] at 24 kHz -> [B, 2 N // 3] at 16 kHz, so that a gradient passes."""
    size = wave.shape[1] // 3 * 3
    spectrum = torch.fft.rfft(wave[:, :size].float())[:, : size // 3 + 1]
    return torch.fft.irfft(spectrum, n=size // 3 * 2) * (2 / 3)


class Listener(nn.Module):
    """The content encoder up to its quantiser, standing still; hears waves [B, N] at 24 kHz."""

    def __init__(self, encoder: ContentEncoder, quantiser: Quantiser) -> None:
        super().__init__()
        self.encoder, self.quantiser = encoder, quantiser
        self.requires_grad_(False).eval()

    def forward(self, wave: Tensor) -> Tensor:
        """The vectors that are to be quantised: [B, S, C]."""
        with half(wave.device):
            return self.quantiser.project(self.encoder(lowered(wave))).float()


def words_loss(listener: Listener, made: Tensor, wave: Tensor) -> Tensor:
    """1 - cosine of the content vectors of waves made and recorded, [B, N] each at 24 kHz."""
    with torch.no_grad():
        wanted = listener(wave)
    return 1.0 - torch.cosine_similarity(listener(made), wanted, dim=2).mean()


def told_loss(model: Generator, made: Tensor, z: Tensor) -> Tensor:
    """How far the shape heard in waves [B, N] is from that of the latents [B, Z, T] that they were decoded from."""
    hearing = model.hearing if model.posterior is None else model.posterior
    if not isinstance(hearing, LinearLatents):
        raise ValueError("faithful: this model hears no latents of a recording")
    heard = hearing.components(hearing.pairs(made.float()))  # [B, T, Z - 4]
    return (heard - z[:, PITCH_LATENTS:].transpose(1, 2).float()).abs().mean()
