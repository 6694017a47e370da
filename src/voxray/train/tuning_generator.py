"""The generator's part of few-shot tuning: what it loses on a speaker's clips, and on sentences beyond them.

By what its prior's mean sounds like beside the recording: to a spectral loss, to the content encoder, to a speaker encoder where its
weights are there (Casanova et al. 2022, YourTTS, eq. 1), to the discriminators that the model was trained against
where they are kept (Kong et al. 2020, HiFi-GAN, eq. 4-7), and to the posterior, whose latents some rows decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.bundle import Bundle
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.discriminators import SpectralDiscriminators
from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS, pitch_latents
from voxray.tokens.content import ContentEncoder

from .autoencoder import spectral_loss
from .feed import half
from .listening import Listener, likeness_loss, words_loss
from .losses import judged_losses
from .parts import Check, Part, Tuning
from .prior import guide_loss, mel_error, predict, remember
from .rehearsal import Rehearsed, put_in, rehearsal_losses, rehearse
from .run import Schedule
from .segments import Aligned, Size, memory_of, sample_latents
from .speakers import SPEAKERS, SpeakerTeacher, embed_speakers
from .store import RATE, TOKEN
from .tuning_published import published_part

LEAST_HEARD = 40  # tokens, of a segment that a speaker encoder hears: 1.6 s
HEARD_SECONDS = 30.0  # of the voice, when sentences are rehearsed


@dataclass(frozen=True)
class Critics:
    """Who listens to what a generator makes, each where it is there: the content encoder, a speaker encoder,
    discriminators.
    """

    listener: Listener | None = None
    teacher: SpeakerTeacher | None = None
    judge: SpectralDiscriminators | None = None


NOBODY = Critics()


def generator_losses(
    model: Generator,
    batch: list[Tensor],
    step: int,
    spoil: float,
    critics: Critics = NOBODY,
    own: float = 0.0,
) -> dict[str, Tensor]:
    """Spectral loss of what the prior's mean sounds like, its pitch, the guide, and, where there is a
    posterior, the distance of its log-mel from the recording's latents; the losses of those who listen. `own`: share of
    rows that decode the recording's latents.
    """
    wave, f0, band = batch[0], batch[5], batch[6]
    dice = torch.Generator().manual_seed(step)
    out, speaker, pattern = predict(model, batch, dice, spoil)
    with half(wave.device):
        z = model.flow.inverse(out.mean, out.mask, speaker)
        fine = model.detailed(z, model.features(batch[1]), model.heard(memory_of(batch)))
        true = pitch_latents(f0).transpose(1, 2)  # so that both waves sing in step
        if own and model.posterior is not None:
            with torch.no_grad():
                recorded, _ = sample_latents(model, wave, f0, dice)
            fine = torch.where(torch.rand(len(z), 1, 1, generator=dice) < own, recorded, fine)
        fine = torch.cat([true, fine[:, PITCH_LATENTS:]], dim=1)
        noise = torch.randn(wave.shape, generator=dice)
        made = model.decoder(fine, speaker[..., 0], noise, f0)
    pitch = (z[:, :PITCH_LATENTS].float() - true).abs().mean()
    parts = {
        "spectrum": spectral_loss(made.audio, wave, band),
        "pitch": pitch,
        "guide": guide_loss(pattern, batch[7])[0],
    }
    if critics.listener is not None:
        parts["words"] = words_loss(critics.listener, made.audio, wave)
    if critics.teacher is not None:
        parts["likeness"] = likeness_loss(critics.teacher, made.audio, batch[8])
    if critics.judge is not None:
        parts |= judged_losses(critics.judge, made.audio, wave, band, True)
    if model.posterior is not None:
        with torch.no_grad():
            sample, _ = sample_latents(model, wave, f0, dice, moved=True)
        parts["copy"] = mel_error(model, z, sample)
    return parts


def generator_part(
    bundle: Bundle, store: Path, config: Tuning, check: Check | None,
    judge: SpectralDiscriminators | None = None,
) -> Part:  # fmt: skip
    """The generator's part; ValueError for generators that this cannot tune."""
    model = bundle.generator
    if bundle.config.version:
        return published_part(bundle, store, config, check)
    if not isinstance(model, Generator) or not isinstance(model.decoder, IstftDecoder):
        raise ValueError("only generators like mini's and published ones can be tuned")
    teacher = _teacher(store, config)  # before the clips are read: it writes what they sound like
    data, held = _aligned(store, "train"), _aligned(store, "dev")
    remember(store, model, data, held)
    longest = min(max(e.samples // TOKEN for e in part.entries) for part in (data, held))
    size = Size(config.batch, min(config.segment_tokens, longest), config.max_phones)
    critics = _critics(bundle, config, size, teacher, judge)
    listener, teacher = critics.listener, critics.teacher
    again = Size(config.rehearse, size.segment_tokens, config.max_phones)
    clips = _rehearsed(bundle, data, config, again, listener)

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        batch = data.aligned(size, rng)
        parts = generator_losses(model, batch, number, config.spoil, critics, config.own)
        if clips:
            batch = put_in(data.aligned(again, rng), clips, again, rng)
            parts |= rehearsal_losses(model, batch, number, listener, teacher)
        return parts

    def loss_on_held() -> dict[str, float]:
        parts = [
            generator_losses(
                model, held.aligned(size, np.random.default_rng((0, n))), n, 0.0, Critics(listener)
            )
            for n in range(3)
        ]
        rows = {name: float(np.mean([float(p[name]) for p in parts])) for name in parts[0]}
        return {"score": -rows["spectrum"] - 0.2 * rows["pitch"], **rows}

    weights = _weights(config, critics, copied=model.posterior is not None, rehearsed=bool(clips))
    return Part(
        "generator", model, losses, weights, config.generator_steps, config.generator_rate,
        check or loss_on_held, beside=critics.judge, share=config.share,
    )  # fmt: skip


def _critics(
    bundle: Bundle, config: Tuning, size: Size, teacher: SpeakerTeacher | None,
    judge: SpectralDiscriminators | None,
) -> Critics:  # fmt: skip
    """Who listens, of those whose opinion counts and who hear enough of a segment."""
    teacher = teacher if size.segment_tokens >= LEAST_HEARD else None
    hears = config.words > 0 and isinstance(bundle.content, ContentEncoder)
    listener = Listener(bundle.content, bundle.quantiser) if hears else None
    return Critics(listener, teacher, judge if config.adversary else None)


def _weights(
    config: Tuning, critics: Critics, *, copied: bool, rehearsed: bool
) -> dict[str, float]:
    """What each loss counts, of those that there are."""
    weights = {"spectrum": 1.0, "pitch": 0.3, "guide": config.guide}
    if critics.listener is not None:
        weights["words"] = config.words
    if critics.teacher is not None:
        weights["likeness"] = config.likeness
    if critics.judge is not None:
        weights |= dict.fromkeys(("adversary", "features"), config.adversary)
        weights["discriminator"] = 1.0
    if copied:
        weights["copy"] = 1.0
    if rehearsed:
        weights["kept"] = config.kept
        weights |= {"alike": config.alike} if critics.teacher is not None else {}
    return weights


def _rehearsed(
    bundle: Bundle, data: Aligned, config: Tuning, size: Size, listener: Listener | None
) -> list[Rehearsed]:
    """Sentences beyond the clips, long enough; none where nobody listens whether they stay said."""
    if listener is None or not size.batch:
        return []
    wave = np.concatenate([data.store.audio(entry) for entry in data.entries])
    clips = rehearse(bundle, data.store, wave[: round(HEARD_SECONDS * RATE)], config.seed)
    return [clip for clip in clips if len(clip.tokens) >= size.segment_tokens]


def _teacher(store: Path, config: Tuning) -> SpeakerTeacher | None:
    """Who hears whether it sounds like the speaker; None without its weights. Writes what its clips sound like."""
    if not config.likeness or not config.teacher:
        return None
    if not (store / SPEAKERS).is_file():
        embed_speakers(store, Path(config.teacher), Schedule())
    return SpeakerTeacher.load(Path(config.teacher)).requires_grad_(False)


def _aligned(store: Path, split: str) -> Aligned:
    data = Aligned(store, split)
    if not data.entries:
        raise ValueError(f"the store {store} has no {split} clips")
    return data
