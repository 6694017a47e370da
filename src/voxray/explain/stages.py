"""The variational generator taken apart: prior, flow and decoder with a speaker each.

In: code vectors [B, S, C], a passage, which speaker [B, G] each stage hears, and what is remembered. Out: latents
[B, Z, T] and sound. With one speaker for all stages it is `Generator.decode`, number for number (a test
says so). What decides F0 by a hard gate can be held as in the run (`held_f0`), so that the rest is smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.generator import Generator, GeneratorOutput
from ..models.memory import Memory
from ..sites import attach, sites
from . import replay
from .replay import Passage, Spoken

F0_SITE = "decoder.f0"


@dataclass(frozen=True)
class Cast:
    """Which speaker each stage hears, [B, G] each, and the memory (one row; None: the voice's own)."""

    prior: Tensor
    flow: Tensor
    decoder: Tensor
    memory: Memory | None = None

    @staticmethod
    def one(speaker: Tensor, memory: Memory | None = None) -> Cast:
        """The same speaker everywhere."""
        return Cast(speaker, speaker, speaker, memory)


def codes_of(generator: Generator, tokens: Tensor) -> Tensor:
    """Tokens [B, S] -> code vectors [B, S, C]."""
    return generator.codebook[tokens]


def latents(speech: Spoken, passage: Passage, codes: Tensor, cast: Cast) -> Tensor:
    """Code vectors [B, S, C] -> what the decoder reads [B, Z, T], with the run's dice."""
    generator = replay.variational(speech.models)
    count = len(codes)
    features = generator.codes(codes.repeat_interleave(2, dim=1)).transpose(1, 2)  # [B, C, 2S]
    text = torch.tensor([passage.ids]).expand(count, -1)
    told = bool(generator.config.prior.pull) and bool(replay.guided_path(speech, passage))
    pointer = None
    if told:
        pointer = torch.tensor([passage.path]).expand(count, -1).repeat_interleave(2, dim=1)
    memory = speech.voice.memory if cast.memory is None else cast.memory
    heard = generator.heard(replay.remembered(memory, count))
    out = generator.prior(
        features,
        torch.full((count,), features.shape[2]),
        text,
        torch.full((count,), text.shape[1]),
        cast.prior[..., None],
        speech.options.speed,
        pointer=pointer,
        heard=heard,
    )
    width, frames = out.mean.shape[1:]
    noise = replay.passage_noise(speech, passage)[:, :width, :frames]
    z = out.mean + noise * out.log_std.exp() * generator.config.noise_scale
    z = generator.flow.inverse(z, out.mask, cast.flow[..., None])
    return generator.detailed(z, features, heard)


@torch.no_grad()
def fine_latents(speech: Spoken, passage: Passage, codes: Tensor, cast: Cast) -> Tensor:
    """What codes [B, S, C] take from the memory: the latents that are retrieved, [B, F, T]."""
    kept = replay.variational(speech.models).config.retrieval
    return latents(speech, passage, codes, cast)[:, kept:]


def place(codes: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """How far codes [B, S, C] are on the way from the first to the last [S, C]: [B]."""
    way = last - first
    return ((codes - first) * way).sum((1, 2)) / way.square().sum().clamp_min(1e-12)


def render(
    speech: Spoken, passage: Passage, z: Tensor, speaker: Tensor, held_f0: Tensor | None = None
) -> GeneratorOutput:
    """Latents [B, Z, T] -> sound [B, N]; `held_f0` [1, 2T] replaces the decoder's own F0."""
    generator = replay.variational(speech.models)
    width, frames = z.shape[1:]
    noise = replay.passage_noise(speech, passage)[:, width:, :frames]
    source = noise.transpose(1, 2).flatten(1).expand(len(z), -1)  # [B, 480 T]
    holds = held_f0 is not None and F0_SITE in sites(generator)
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    if holds:
        edits[F0_SITE] = lambda f0: held_f0.expand(len(f0), -1)  # type: ignore[union-attr]
    with attach(generator, edits) if holds else nullcontext():
        wave, f0 = generator.decoder.speak(z, speaker, source)
    return GeneratorOutput(wave, z, f0)


def speak(
    speech: Spoken, passage: Passage, codes: Tensor, cast: Cast, held_f0: Tensor | None = None
) -> GeneratorOutput:
    """Code vectors [B, S, C] -> sound, each stage with its own speaker."""
    return render(speech, passage, latents(speech, passage, codes, cast), cast.decoder, held_f0)
