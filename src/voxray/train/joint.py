"""`voxray train generator`, third part: posterior, flow, prior and decoder tuned together.

The family's objective (Kim et al. 2021, VITS, eq. 1): the posterior's sample is decoded and compared
with the recording, and its KL from the prior behind the flow is paid for. Only so do the latents
become what tokens, text and reference can tell: an autoencoder trained alone puts into them whatever
it likes, and a prior that comes after explains little of that.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.models.generator import Generator

from .autoencoder import pitch_losses, spectral_loss
from .losses import kl_divergence
from .prior import Aligned, PriorTraining, text_parts
from .run import Run, Say, Task, fit, silent


class JointTraining(PriorTraining):
    """Settings of the third part of a generator run."""

    steps: int = 2000
    batch: int = 6
    segment_tokens: int = 24
    max_phones: int = 32
    rate: float = 5e-4
    kl: float = 0.02  # weight of the nats per frame; the published recipe's 1 : 45 of the log-mel


def joint_losses(model: Generator, batch: list[Tensor], step: int) -> dict[str, Tensor]:
    """Spectral and pitch losses of the decoded sample, its KL, and how far the prior's mean is off."""
    wave, tokens, ids, lengths, reference, f0, band = batch
    if model.posterior is None:
        raise ValueError("training needs the posterior encoder")
    dice = torch.Generator().manual_seed(step)
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_std = model.posterior(wave)
        z = mean + torch.randn(mean.shape, generator=dice) * log_std.exp()
        made = model.decoder(z, None, torch.randn(wave.shape, generator=dice), f0)
        speaker = model.speaker_vector(reference)[..., None]
        features = model.features(tokens)
        frames = torch.full((len(tokens),), features.shape[2])
        out = model.prior(features, frames, ids, lengths, speaker)
        placed = model.flow(z, out.mask, speaker)
    pitch, voicing = pitch_losses(made.octaves, made.voicing, f0)
    error = (placed.float() - out.mean.float()).square().mean()
    return {
        "spectrum": spectral_loss(made.audio, wave, band),
        "pitch": pitch,
        "voicing": voicing,
        "kl": kl_divergence(placed, log_std, out.mean, out.log_std.clamp(-6, 3), out.mask),
        "unexplained": error / placed.float().var(),  # share of the latents' variance
    }


def train_joint(
    folder: Path, out: Path, model: Generator, config: JointTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` has been through parts 1 and 2."""
    model.codebook.copy_(torch.from_numpy(np.load(folder / "codebook.npy")))
    data, held = Aligned(folder), Aligned(folder, "dev")

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        return joint_losses(model, data.aligned(config, rng), number)

    def validate() -> dict[str, float]:
        parts = joint_losses(model, held.aligned(config, np.random.default_rng(0)), 0)
        rows = {name: float(value) for name, value in parts.items()}
        return {"loss": rows["spectrum"] + config.kl * rows["kl"], **rows}

    task = Task(
        [{"params": list(model.parameters())}],
        losses,
        {"spectrum": 1.0, "pitch": 1.0, "voicing": 0.3, "kl": config.kl},
        later=text_parts(model) if config.freeze_text else (),
        validate=validate if held.entries else None,
        betas=(0.8, 0.99),
    )
    fit(Run(out, {"generator": model}), task, config, say)
    return model
