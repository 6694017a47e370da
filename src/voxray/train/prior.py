"""`voxray train generator`, second part: prior, flow and speaker encoder on frozen latents.

Posterior and decoder stand still; what is learnt is the density of their latents given tokens,
phonemes and a reference of the same speaker: the negative log-likelihood of the posterior's sample under
a Gaussian behind a volume-preserving flow (VITS' KL term), and the log-mel that the mean alone comes to
(speech without noise). The cross-attention is guided by the known times of the phonemes. Some tokens are
spoilt, as a GPT's are, so that the text is read. The linear path is fitted first; the flow stays the
identity until `flow_from`. Steps cost no waveform.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxray.config import GeneratorConfig
from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS, MelPosterior
from voxray.models.prior import PriorOutput
from voxray.sites import record

from .content import SILENCE
from .feed import Feed, half, place
from .label import check_stamp
from .run import Run, Say, Schedule, Task, fit, silent
from .segments import LATENTS, Aligned, memory_of, sample_latents, spoilt, write_latents
from .start import start_prior

LOOSE, UNKNOWN = 3, 0.25  # frames of 20 ms; share of rows
FITTED_RATE = 0.3  # share of the rate for what begins from a fit: hundreds of inputs move at once


class PriorTraining(Schedule):
    """Settings of the second part of a generator run."""

    model: GeneratorConfig = GeneratorConfig()
    steps: int = 1500
    batch: int = 12
    segment_tokens: int = 50
    max_phones: int = 48
    rate: float = 8e-4
    seed: int = 2
    guide: float = 0.2  # weight of the cross-attention's distance from the known times
    fit_batches: int = 24  # batches from which the prior's linear path is taken
    spoil: float = 0.2  # share of tokens that are replaced by others, in runs
    silent: float = 0.0  # share of rows whose text is withheld, as when a recording is converted
    copy_weight: float = 2.0  # of the log-mel's error, when the prior's mean is taken as it is
    flow_from: int = 0  # step from which the flow learns; the identity before
    people: float = 0.0  # share of rows of people, drawn by speaker; the others as they come
    teach: float = 0.0  # weight of the speaker vector's distance from a pretrained encoder's
    freeze_text: bool = False  # the prior's text encoder stands still until the loss is flat


def withheld(batch: list[Tensor], share: float, dice: torch.Generator | None) -> list[Tensor]:
    """A batch with the text of about `share` of its rows replaced by one silence, and no pointer there."""
    ids, lengths, pointer = batch[2], batch[3], batch[7]
    gone = torch.rand(len(ids), generator=dice, device=ids.device) < share  # [B]
    silence = torch.zeros_like(ids)
    silence[:, 0] = SILENCE
    batch = list(batch)
    batch[2] = torch.where(gone[:, None], silence, ids)
    batch[3] = torch.where(gone, torch.ones_like(lengths), lengths)
    batch[7] = torch.where(gone[:, None], torch.full_like(pointer, -1), pointer)
    return batch


def guide_loss(pattern: Tensor, pointer: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-attention [B, H, T, P] against pointers [B, T]: negative log of the mean head's mass on the
    right phoneme, and how often it is the largest.
    """
    rows, known = pattern.float().mean(1), pointer >= 0  # [B, T, P]
    mass = rows.gather(2, pointer.clamp_min(0)[..., None])[..., 0]
    hit = ((rows.argmax(2) == pointer) & known).sum() / known.sum().clamp_min(1)
    return -(mass.clamp_min(1e-4).log() * known).sum() / known.sum().clamp_min(1), hit


def loosened(pointer: Tensor, dice: torch.Generator | None) -> Tensor:
    """Pointers [B, T] as a GPT would give them: up to 60 ms early or late, in a quarter of rows none."""
    count, frames = pointer.shape
    at = pointer.device
    late = torch.randint(-LOOSE, LOOSE + 1, (count, 1), generator=dice, device=at)
    frame = torch.arange(frames, device=at)[None]
    moved = pointer.gather(1, (frame + late).clamp(0, frames - 1))
    known = torch.rand(count, 1, generator=dice, device=at) >= UNKNOWN
    return torch.where(known, moved, torch.full_like(moved, -1))


def mel_error(model: Generator, ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean distance of two latents [B, Z, T] in the log-mel that they stand for, pitch latents beside it."""
    if not isinstance(model.posterior, MelPosterior):
        raise ValueError("training needs the posterior encoder `MelPosterior`")
    apart = (ours.float() - theirs.float()).transpose(1, 2)  # [B, T, Z]
    mel = apart[..., PITCH_LATENTS:] @ model.posterior.synthesis  # [B, T, 2M]
    return mel.abs().mean() + 0.1 * apart[..., :PITCH_LATENTS].abs().mean()


def predict(
    model: Generator, batch: list[Tensor], dice: torch.Generator | None, spoil: float = 0.0
) -> tuple[PriorOutput, Tensor, Tensor]:
    """The prior of a batch, speaker vector [B, G, 1], cross-attention [B, H, T, P]."""
    _, tokens, ids, lengths, reference = batch[:5]
    if spoil:
        tokens = spoilt(tokens, batch[9], spoil, dice)
    with record(model, ["prior.attn.pattern"]) as seen, half(tokens.device):
        speaker = model.speaker_vector(reference)[..., None]
        features = model.features(tokens)
        frames = torch.full((len(tokens),), features.shape[2], device=tokens.device)
        pointer = loosened(batch[7], dice)
        out = model.prior(
            features, frames, ids, lengths, speaker,
            pointer=pointer, heard=model.heard(memory_of(batch)),
        )  # fmt: skip
    return out, speaker, seen["prior.attn.pattern"][0]


def prior_losses(
    model: Generator,
    batch: list[Tensor],
    step: int,
    flow: bool = True,
    spoil: float = 0.0,
    student: nn.Linear | None = None,
) -> dict[str, Tensor]:
    """Negative log-likelihood per latent value, the mean's share of variance not explained, guide, the
    error of the log-mel that the mean alone comes to, and the distance of the speaker from a teacher's.
    """
    dice = torch.Generator(batch[0].device).manual_seed(step)
    with torch.no_grad():
        sample, _ = sample_latents(model, batch[0], batch[5], dice)
    out, speaker, pattern = predict(model, batch, dice, spoil)
    placed, plain = sample, out.mean
    if flow:
        with half(sample.device):
            placed = model.flow(sample, out.mask, speaker)
            plain = model.flow.inverse(out.mean, out.mask, speaker)
    mean, log_std, placed = out.mean.float(), out.log_std.float().clamp(-6, 3), placed.float()
    error = (placed - mean).square()
    guide, hit = guide_loss(pattern, batch[7])
    taught = {}
    if student is not None:
        taught["teach"] = teaching_loss(student, speaker, batch[8])
    return {
        **taught,
        "nll": (log_std + 0.5 * error * torch.exp(-2 * log_std)).mean(),
        "unexplained": (error.mean((0, 2)) / placed.var((0, 2))).mean(),
        "first": (error.mean((0, 2)) / placed.var((0, 2)))[:12].mean(),
        "copy": mel_error(model, plain, sample),
        "guide": guide,
        "pointer": hit,
    }


def teaching_loss(student: nn.Linear, speaker: Tensor, target: Tensor) -> Tensor:
    """How far a linear map of the speaker vectors [B, G, 1] points from the teacher's [B, E]: 1 - cosine."""
    said = student(speaker[..., 0].float())
    return 1.0 - torch.cosine_similarity(said, target, dim=1).mean()


def slow_and_fast(model: Generator, parts: Sequence[nn.Module]) -> list[dict[str, Any]]:
    """Parameters of `parts` at the full rate, those that begin from a fit at a share of it."""
    fitted = list(model.speaker.parameters())
    if model.prior.direct is not None:
        fitted += model.prior.direct.parameters()
    known = {id(p) for p in fitted}
    rest = [p for part in parts for p in part.parameters() if id(p) not in known]
    return [{"params": rest}, {"params": fitted, "scale": FITTED_RATE}]


def text_parts(model: Generator) -> list[nn.Module]:
    """What `freeze_text` holds still at first."""
    return [model.prior.text_encoder, model.prior.text_embedding]


def _student(model: Generator, data: Aligned) -> nn.Linear:
    """The map from our speaker vector to the pretrained encoder's; ValueError without its vectors."""
    known = next(iter(data.taught.values()), None)
    if known is None:
        raise ValueError(
            "teach: the corpus has no speakers.npy (train/speakers.py, embed_speakers)"
        )
    return nn.Linear(model.config.speaker.speaker_width, len(known))


def remember(folder: Path, model: Generator, *data: Aligned) -> None:
    """Let batches hold reference frames, for models that look them up; writes the store's latents once."""
    if model.hearing is None:
        return
    if isinstance(model.posterior, MelPosterior):
        model.hearing.same_as(model.posterior)
    width = model.config.prior.latent_channels
    if not data[0].store.whole(LATENTS, "float16", 480, width):
        write_latents(folder, model.hearing)
    for part in data:
        part.remember(width)


def train_prior(
    folder: Path, out: Path, model: Generator, config: PriorTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` holds trained posterior and decoder."""
    check_stamp(folder)
    data, held = Aligned(folder), Aligned(folder, "dev")
    device = place(config)
    model.to(device)
    student = _student(model, data).to(device) if config.teach else None
    run = Run(out, {"generator": model, **({"student": student} if student else {})})
    model.codebook.copy_(torch.from_numpy(np.load(folder / "codebook.npy")))
    remember(folder, model, data, held)
    if not (out / "state.pt").exists():
        share = start_prior(model, data, config, config.fit_batches, config.spoil)
        say(f"codes and speaker leave {share:.3f} of the latents' variance to learn")
        run.save()

    def make(number: int) -> list[Tensor]:
        return data.aligned(config, np.random.default_rng((config.seed, number)), config.people)

    feed = Feed(make, config, device)

    def losses(number: int) -> dict[str, Tensor]:
        batch = feed(number)
        if config.silent:
            dice = torch.Generator(device).manual_seed(number + 1)
            batch = withheld(batch, config.silent, dice)
        flow = number >= config.flow_from
        return prior_losses(model, batch, number, flow, config.spoil, student)

    def validate() -> dict[str, float]:
        batch = feed.moved(held.aligned(config, np.random.default_rng(0)))
        parts = prior_losses(model, batch, 0, run.step >= config.flow_from)
        return {"loss": float(parts["nll"]), **{k: float(v) for k, v in parts.items()}}

    task = Task(
        slow_and_fast(model, [model.prior, model.flow, *([student] if student else [])]),
        losses,
        {
            "nll": 1.0,
            "guide": config.guide,
            "copy": config.copy_weight,
            **({"teach": config.teach} if config.teach else {}),
        },
        later=text_parts(model) if config.freeze_text else (),
        validate=validate if held.entries else None,
    )
    fit(run, task, config, say)
    return model
