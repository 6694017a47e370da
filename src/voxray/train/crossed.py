"""One speaker's words in another's voice: what cloning asks of a generator, and no recording shows.

A GPT's tokens know nothing of the voice that is to say them, but a recording's own tokens were heard from its speaker, and a
generator that learns from those alone leans on what they let through. So some rows say the tokens, text and times of one clip with
another speaker's reference, in the pitch that the prior gives them. There is nothing to compare the wave with, but who listens knows what
is wanted: the content encoder the clip's words, the speaker encoder the reference's speaker (speaker consistency, Casanova et al.
2022, YourTTS, eq. 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS

from .feed import half
from .listening import Listener, likeness_loss, words_loss
from .prior import predict
from .segments import memory_of
from .speakers import SpeakerTeacher

VOICE = (
    4,
    8,
    10,
    11,
    12,
)  # of a batch: reference, what is known of the speaker, frames of the reference


def crossed(words: Sequence[Tensor], voices: Sequence[Tensor]) -> list[Tensor]:
    """A batch (`Aligned.aligned`) that says what one says as the speakers of another."""
    return [voices[n] if n in VOICE else x for n, x in enumerate(words)]


def crossed_losses(
    model: Generator,
    batch: list[Tensor],
    dice: torch.Generator | None,
    listener: Listener,
    teacher: SpeakerTeacher,
) -> dict[str, Tensor]:
    """How far the words are from the clip's, and the sound from the speaker's."""
    wave = batch[0]
    out, speaker, _ = predict(model, batch, dice)
    with half(wave.device):
        z = model.flow.inverse(out.mean, out.mask, speaker).float()
        z = model.detailed(z, model.features(batch[1]), model.heard(memory_of(batch)))
        # A pulse's place is no smooth function of the pitch: its gradient broke the prior within forty steps.
        z = torch.cat([z[:, :PITCH_LATENTS].detach(), z[:, PITCH_LATENTS:]], dim=1)
        noise = torch.randn(wave.shape, generator=dice, device=wave.device)
        made = model.decoder(z, speaker[..., 0], noise, model.decoder.sung(z)).audio
    return {
        "crossed words": words_loss(listener, made, wave),
        "crossed likeness": likeness_loss(teacher, made, batch[8]),
    }
