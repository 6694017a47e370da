"""What the prior says of a segment, as the decoder is to read it: for the parts that train the decoder on it.

With its true pitch, so that the wave made and the recording sing in step; a share of the rows may be corrected by what is
known of the voice (`models/calibration.py`), or be the recording's own latents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from voxray.models.generator import Generator
from voxray.models.memory import Memory
from voxray.models.posterior_mel import PITCH_LATENTS, pitch_latents

from .content import SILENCE
from .feed import half
from .prior import guide_loss, mel_error, predict
from .segments import memory_of, sample_latents

PITCH_ANCHOR, GUIDE_ANCHOR = 0.4, 0.05  # beside the log-mel's error


@dataclass(frozen=True)
class Shares:
    """Of rows that only the decoder learns from: corrected ones, and those of the recording itself."""

    corrected: float = 0.0
    true: float = 0.0


NONE = Shares()


@dataclass(frozen=True)
class Expected:
    """Latents that the decoder reads, with true pitch, and what the prior itself said [B, Z, T]; its
    cross-attention [B, H, T, P]; the speaker vector [B, G].
    """

    latents: Tensor
    said: Tensor
    pattern: Tensor
    speaker: Tensor


def expected_latents(
    model: Generator,
    batch: list[Tensor],
    dice: torch.Generator | None,
    learn: bool = False,
    spoil: float = 0.0,
    shares: Shares = NONE,
    correction: Tensor | None = None,
) -> Expected:
    """What the prior says of a batch's segments, with their true pitch. Corrected rows and the posterior's own
    give the prior no gradient: a correction undoes whatever the prior does to be undone. `correction` [B, Z, F + 2]:
    that of each voice, where it is known.
    """
    with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
        out, speaker, pattern = predict(model, batch, dice, spoil)
        with half(out.mean.device):
            said = model.flow.inverse(out.mean, out.mask, speaker).float()
        features, memory = model.features(batch[1]), memory_of(batch)
        z = model.detailed(said, features, model.heard(memory))
        if memory is not None and shares.corrected:
            heard = model.heard(
                calibrated(model, memory, speaker[..., 0])
                if correction is None
                else replace(memory, correction=correction)
            )
            z = torch.where(
                _some(z, shares.corrected, dice), model.detailed(said.detach(), features, heard), z
            )
        if shares.true:
            own, _ = sample_latents(model, batch[0], batch[5], dice)
            z = torch.where(_some(z, shares.true, dice), own, z)
        pitch = pitch_latents(batch[5]).transpose(1, 2)
        latents = torch.cat([pitch, z[:, PITCH_LATENTS:]], dim=1)
        return Expected(latents, said, pattern, speaker[..., 0])


@torch.no_grad()
def calibrated(model: Generator, memory: Memory, speaker: Tensor) -> Memory:
    """A batch's references with the correction of their voices [B, G]."""
    with half(speaker.device):
        return model.calibrated(memory, speaker, SILENCE)


def anchor_loss(
    model: Generator, batch: list[Tensor], expected: Expected, dice: torch.Generator | None
) -> Tensor:
    """How far the prior itself is from the recording: log-mel, pitch and voicing, and its attention from the text's
    times.
    """
    with torch.no_grad():
        own, _ = sample_latents(model, batch[0], batch[5], dice)
    pitch = (expected.said - own)[:, :PITCH_LATENTS].abs().mean()
    guide = guide_loss(expected.pattern, batch[7])[0]
    return mel_error(model, expected.said, own) + PITCH_ANCHOR * pitch + GUIDE_ANCHOR * guide


def _some(z: Tensor, share: float, dice: torch.Generator | None) -> Tensor:
    """About so many of the rows of z, [B, 1, 1]."""
    return torch.rand(len(z), 1, 1, generator=dice, device=z.device) < share


@torch.no_grad()
def correction_of(model: Generator, batch: list[Tensor]) -> Tensor:
    """The corrections [B, Z, F + 2] of a batch's voices."""
    memory = memory_of(batch)
    if memory is None or not model.config.retrieval:
        raise ValueError("corrected: this model looks nothing up in a reference")
    with half(batch[0].device):
        speaker = model.speaker_vector(batch[4])
    correction = calibrated(model, memory, speaker.float()).correction
    assert correction is not None
    return correction
