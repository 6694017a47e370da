"""Units that nobody labelled: do vowels, consonants and silence emerge from sound alone?

The tokens of the built-in model were learnt with phoneme labels, so that they fall into sounds proves
nothing. Here a small autoencoder of the `article` preset's posterior (two convolutions, GRU, quantiser of
100 entries) learns to redraw mel frames, and only that. In: waves [N] at 16 kHz. Out: codes, one every
40 ms, to be measured like any others. The loss is the squared error of the redrawn mel, plus commitment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import audio
from ..bundle import RATE
from ..config import ArticlePosteriorConfig
from ..models.article_posterior import ArticlePosterior

HOP = 320  # 20 ms: two frames a unit
SEGMENT = 128  # frames a training item
RATE_OF_LEARNING = 2e-3


class UnitLearner(nn.Module):
    """Mel -> 100 units -> mel again."""

    def __init__(self, config: ArticlePosteriorConfig) -> None:
        super().__init__()
        self.encoder = ArticlePosterior(config)
        self.redraw = nn.Linear(config.latent_channels, 2 * config.input_bins)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mel [B, M, T] -> mel as redrawn [B, M, T], codes [B, T / 2], commitment."""
        lengths = torch.full((len(mel),), mel.shape[2])
        made = self.encoder(mel, lengths)
        frames = self.redraw(made.mean.transpose(1, 2))  # [B, T / 2, 2 M]
        pairs = frames.unflatten(2, (2, -1)).flatten(1, 2)  # [B, T, M]
        return pairs.transpose(1, 2), made.codes, made.commitment


def mel_of(wave: NDArray[np.float32], rate: int, bins: int) -> Tensor:
    """Log-mel every 20 ms with the level taken out [M, T], T even."""
    heard = torch.from_numpy(audio.resample(wave, rate, RATE))[None]
    mel = audio.log_mel(heard, RATE, 640, HOP, bins)[0]
    mel = (mel - mel.mean()) / mel.std().clamp_min(1e-3)
    return mel[:, : mel.shape[1] // 2 * 2]


def learn_units(
    waves: Sequence[NDArray[np.float32]], rate: int, *, steps: int, batch: int = 8, seed: int = 0
) -> tuple[UnitLearner, float]:
    """A learner trained on waves alone, and its last loss."""
    config = ArticlePosteriorConfig()
    dice = torch.Generator().manual_seed(seed)
    model = start(UnitLearner(config), dice).train()
    mels = [mel_of(wave, rate, config.input_bins) for wave in waves]
    mels = [mel for mel in mels if mel.shape[1] >= SEGMENT]
    if len(mels) < 2:
        raise ValueError(
            f"units are learnt from clips of {SEGMENT * 0.02:.1f} s or more; give some"
        )
    dice = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE_OF_LEARNING)
    last = 0.0
    for _ in range(steps):
        items = torch.stack([_segment(mels, dice) for _ in range(batch)])
        made, _, commitment = model(items)
        loss = F.mse_loss(made, items) + commitment
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = 0.95 * last + 0.05 * float(loss.detach()) if last else float(loss.detach())
    return model.eval(), last


def start(model: UnitLearner, dice: torch.Generator) -> UnitLearner:
    """Fresh weights from given dice: normal, by fan-in; vectors keep what the layers chose."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, weight[0].numel() ** -0.5, generator=dice)
            elif weight.requires_grad and bool((weight != 1).any()):
                weight.zero_()
        quantiser = model.encoder.quantiser
        quantiser.codebook.normal_(0.0, quantiser.codebook.shape[1] ** -0.5, generator=dice)
        quantiser.sums.copy_(quantiser.codebook)
    return model


def _segment(mels: Sequence[Tensor], dice: torch.Generator) -> Tensor:
    mel = mels[int(torch.randint(len(mels), (1,), generator=dice))]
    start = int(torch.randint(mel.shape[1] - SEGMENT + 1, (1,), generator=dice))
    return mel[:, start : start + SEGMENT]


@torch.inference_mode()
def units_of(
    model: UnitLearner, wave: NDArray[np.float32], rate: int, tokens: int
) -> NDArray[np.int64]:
    """Codes of a wave, cut or continued to `tokens` of them."""
    mel = mel_of(wave, rate, model.encoder.config.input_bins)
    codes = model(mel[None])[1][0].numpy().astype(np.int64)
    return np.pad(codes, (0, max(0, tokens - len(codes))), mode="edge")[:tokens]
