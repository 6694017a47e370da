"""Losses of the published recipe: KL of the flow (VITS), least-squares GAN, feature matching.

Each returns a number [] (float32). `judgements` are lists with one `Judgement` per discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from voxray.models.discriminators import Judgement, SpectralDiscriminators

from .autoencoder import spectral_loss
from .feed import half


def kl_divergence(
    z: Tensor, posterior_log_std: Tensor, mean: Tensor, log_std: Tensor, mask: Tensor
) -> Tensor:
    """KL of the posterior's flowed sample z from the prior, per valid frame; all [B, Z, T].

    `mask` [B, 1, T]. Kim et al. 2021, eq. 4, with the sample in place of its expectation.
    """
    z, mean, log_std = z.float(), mean.float(), log_std.float()
    gap = log_std - posterior_log_std.float() - 0.5
    gap = gap + 0.5 * (z - mean).square() * torch.exp(-2.0 * log_std)
    return (gap * mask).sum() / mask.sum()


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Real sound should be judged 1, made sound 0 (Mao et al. 2017)."""
    parts = [(1 - r.logits.float()).square().mean() for r in real]
    parts += [m.logits.float().square().mean() for m in made]
    return torch.stack(parts).sum()


def adversarial_loss(made: Sequence[Judgement]) -> Tensor:
    """Made sound wants to be judged 1."""
    return torch.stack([(1 - m.logits.float()).square().mean() for m in made]).sum()


def feature_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Twice the mean distance of the feature maps, over all maps (Kong et al. 2020)."""
    parts = [
        (a.float().detach() - b.float()).abs().mean()
        for r, m in zip(real, made, strict=True)
        for a, b in zip(r.features, m.features, strict=True)
    ]
    return 2 * torch.stack(parts).sum()


def _judged(judge: SpectralDiscriminators, wave: Tensor, *, learn: bool) -> list[Judgement]:
    """Judgements of waves [B, N]; unless `learn`, the discriminators' weights get no gradient."""
    wave = wave[:, None]
    with half(wave.device):
        if learn:
            return judge(wave)
        fixed = {name: value.detach() for name, value in judge.named_parameters()}
        return functional_call(judge, fixed, (wave,))


def _first(judged: Sequence[Judgement], rows: int | None) -> list[Judgement]:
    """Of the first rows alone."""
    return [Judgement(one.logits[:rows], [x[:rows] for x in one.features]) for one in judged]


def judged_losses(
    judge: SpectralDiscriminators, made: Tensor, wave: Tensor, band: Tensor, heard: bool,
    compared: int | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Spectral loss of waves [B, N] made, and those of the GAN; `heard`: it counts for who made them. Only the first
    `compared` rows (None: all) are to be the recording itself, the others only to sound real.
    """
    real = _judged(judge, wave, learn=True)
    parts = {
        "spectrum": spectral_loss(made[:compared], wave[:compared], band[:compared]),
        "discriminator": discriminator_loss(real, _judged(judge, made.detach(), learn=True)),
        "adversary": made.new_zeros(()),
        "features": made.new_zeros(()),
    }
    if heard:
        said = _judged(judge, made, learn=False)
        parts["adversary"] = adversarial_loss(said)
        parts["features"] = feature_loss(*(_first(some, compared) for some in (real, said)))
    return parts
