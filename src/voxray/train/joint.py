"""`voxray train generator`, third part: posterior, flow, prior and decoder tuned together.

The family's objective (Kim et al. 2021, VITS, eq. 1): the posterior's sample is decoded and compared
with the recording, and its KL from the prior behind the flow is paid for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.models.generator import Generator

from .autoencoder import spectral_loss
from .feed import Feed, half, place
from .losses import kl_divergence
from .prior import PriorTraining, guide_loss, predict, slow_and_fast, text_parts
from .run import Run, Say, Task, fit, silent
from .segments import Aligned, sample_latents


class JointTraining(PriorTraining):
    """Settings of the third part of a generator run."""

    steps: int = 2000
    batch: int = 6
    segment_tokens: int = 24
    max_phones: int = 32
    rate: float = 2e-4
    kl: float = 0.02  # weight of the nats per frame; the published recipe's 1 : 45 of the log-mel


def joint_losses(model: Generator, batch: list[Tensor], step: int) -> dict[str, Tensor]:
    """Spectral loss of the decoded sample, its KL, guide, and the share of variance not explained."""
    wave, f0, band = batch[0], batch[5], batch[6]
    dice = torch.Generator(wave.device).manual_seed(step)
    z, log_std = sample_latents(model, wave, f0, dice, moved=True)
    out, speaker, pattern = predict(model, batch, dice)
    source = torch.randn(wave.shape, generator=dice, device=wave.device)
    with half(wave.device):
        made = model.decoder(z, speaker[..., 0], source, f0)
        placed = model.flow(z, out.mask, speaker)
    error = (placed.float() - out.mean.float()).square()
    return {
        "spectrum": spectral_loss(made.audio, wave, band),
        "kl": kl_divergence(placed, log_std, out.mean, out.log_std.clamp(-6, 3), out.mask),
        "guide": guide_loss(pattern, batch[7])[0],
        "unexplained": (error.mean((0, 2)) / placed.float().var((0, 2))).mean(),
    }


def train_joint(
    folder: Path, out: Path, model: Generator, config: JointTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` has been through parts 1 and 2."""
    device = place(config)
    model.to(device)
    model.codebook.copy_(torch.from_numpy(np.load(folder / "codebook.npy")))
    data, held = Aligned(folder), Aligned(folder, "dev")

    def make(number: int) -> list[Tensor]:
        return data.aligned(config, np.random.default_rng((config.seed, number)), config.people)

    feed = Feed(make, config, device)

    def losses(number: int) -> dict[str, Tensor]:
        return joint_losses(model, feed(number), number)

    def validate() -> dict[str, float]:
        batch = feed.moved(held.aligned(config, np.random.default_rng(0)))
        parts = joint_losses(model, batch, 0)
        rows = {name: float(value) for name, value in parts.items()}
        return {"loss": rows["spectrum"] + config.kl * rows["kl"], **rows}

    task = Task(
        slow_and_fast(model, (model,)),
        losses,
        {"spectrum": 1.0, "kl": config.kl, "guide": config.guide},
        later=text_parts(model) if config.freeze_text else (),
        validate=validate if held.entries else None,
        betas=(0.8, 0.99),
    )
    fit(Run(out, {"generator": model}), task, config, say)
    return model
