"""The sound of many takes at once, and what their maker hears in it, on one device.

In: tokens [B, S] of a group of takes, padded at the right, and their voices; out: waves [B, N], each silent behind its own
end, the codes that the content encoder hears [B, S], and the log odds of each phoneme of the text [B, P]. What
`Generator.decode`, `Bundle.encode` and `takes.odds_said` give for each alone, but for the last frames, where a
padded row does not see the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxray.audio.recording import SPEECH_RMS
from voxray.bundle import CHUNK, RATE
from voxray.config import GeneratorConfig
from voxray.models.calibration import neutral
from voxray.models.generator import Generator
from voxray.models.layers import length_mask
from voxray.models.memory import Memory
from voxray.takes import LEAST, SLACK
from voxray.tokens.content import ContentEncoder
from voxray.tokens.phones import PhoneTable
from voxray.tokens.quantiser import Quantiser
from voxray.voice import Voice

PASSED = 0.913  # share of the band that resampling leaves as it is, as soxr's
FRAME = 240  # samples over which `audio.speech_gain` takes power

Normal = Callable[[int], Tensor]  # frames T -> noise [B, C, T]


@dataclass(frozen=True)
class Timbre:
    """A voice as arrays: speaker vector [G], tokens [S] and latents [Z, 2S] of its reference, correction [Z, F + 2]."""

    speaker: NDArray[np.float32]
    tokens: NDArray[np.int64]
    latents: NDArray[np.float32]
    correction: NDArray[np.float32]

    @classmethod
    def of(cls, voice: Voice, config: GeneratorConfig) -> Timbre:
        """Of a voice that fits a generator; one without a memory has none of its frames."""
        latents, memory = config.prior.latent_channels, voice.memory
        if memory is None:
            memory = Memory(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, latents, 0))
        correction = memory.correction
        if correction is None:
            correction = neutral(1, latents, config.prior.input_channels)
        parts = memory.tokens, memory.latents, correction
        return cls(voice.speaker.float().numpy(), *(x[0].numpy() for x in parts))


class Voices:
    """Many voices side by side on a device; `rows` of a group take theirs by number."""

    def __init__(self, timbres: Mapping[str, Timbre], device: torch.device) -> None:
        self.number = {name: place for place, name in enumerate(timbres)}
        own = list(timbres.values())
        counts = [len(one.tokens) for one in own]
        tokens = np.zeros((len(own), max(counts)), np.int64)
        latents = np.zeros((len(own), len(own[0].latents), 2 * max(counts)), np.float32)
        for row, one in enumerate(own):
            tokens[row, : counts[row]] = one.tokens
            latents[row, :, : 2 * counts[row]] = one.latents

        def moved(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array).to(device)

        self.speaker = moved(np.stack([one.speaker for one in own]))  # [V, G]
        self.tokens, self.latents = moved(tokens), moved(latents)  # [V, S], [V, Z, 2S]
        self.lengths = moved(np.array(counts))  # [V]
        self.correction = moved(np.stack([one.correction for one in own]))  # [V, Z, F + 2]

    def memory(self, rows: Tensor) -> Memory:
        """Of the voices of a group [B]."""
        every = self.tokens, self.latents, self.lengths, self.correction
        return Memory(*(part[rows] for part in every))


@dataclass(frozen=True)
class Group:
    """Takes of about one length: tokens and the phoneme of each [B, S] (path: -1 behind the end), how many tokens [B],
    phonemes [B, P] and how many [B], numbers of the voices [B].
    """

    tokens: Tensor
    path: Tensor
    counts: Tensor
    ids: Tensor
    lengths: Tensor
    voice: Tensor


@torch.inference_mode()
def sounded(generator: Generator, voices: Voices, group: Group, noise: Normal) -> Tensor:
    """Waves [B, N] at the generator's rate."""
    frames, vector = 2 * group.counts, voices.speaker[group.voice]
    latent, size = generator.config.prior.latent_channels, 2 * group.tokens.shape[1]
    features = generator.features(group.tokens) * length_mask(frames, size)  # [B, C, T]
    heard = generator.heard(voices.memory(group.voice))
    pointer = group.path.repeat_interleave(2, dim=1)
    out = generator.prior(
        features, frames, group.ids, group.lengths, vector[..., None], pointer=pointer, heard=heard
    )
    dice = noise(size)
    spread = dice[:, :latent] * out.log_std.exp() * generator.config.noise_scale * out.mask
    z = generator.flow.inverse(out.mean + spread, out.mask, vector[..., None])
    z = lasting(generator.detailed(z, features, heard), frames)
    source = dice[:, latent:].transpose(1, 2).flatten(1)
    wave, _ = generator.decoder.speak(z, vector, source)
    own = length_mask(frames * generator.config.hop, wave.shape[1])[:, 0]
    return wave.clamp(-1.0, 1.0) * own


def lasting(z: Tensor, frames: Tensor) -> Tensor:
    """Latents [B, Z, T] whose last frame stays behind the end of each row [B]."""
    place = torch.arange(z.shape[2], device=z.device).minimum(frames[:, None] - 1)  # [B, T]
    return z.gather(2, place[:, None].expand_as(z))


def speech_gains(wave: Tensor) -> Tensor:
    """`audio.speech_gain` of each wave [B, N], which may have silence behind it: [B, 1]."""
    power = wave.unflatten(1, (-1, FRAME)).square().mean(2)  # [B, N / 240]
    active = power > power.amax(1, keepdim=True) * 1e-3
    mean = (power * active).sum(1) / active.sum(1).clamp_min(1)
    gain = SPEECH_RMS / (mean + 1e-12).sqrt()
    return torch.minimum(gain, 0.99 / (wave.abs().amax(1) + 1e-9))[:, None]


def resampled(wave: Tensor, rate_from: int, rate_to: int) -> Tensor:
    """Waves [B, N] at a lower rate [B, N rate_to / rate_from], by their spectrum."""
    size = wave.shape[1] * rate_to // rate_from
    bins = torch.fft.rfft(wave)[:, : size // 2 + 1]
    place = torch.arange(bins.shape[1], device=wave.device) / (size / 2)  # 1: all that is left
    fall = ((place - PASSED) / (1.0 - PASSED)).clamp(0.0, 1.0)
    kept = 0.5 + 0.5 * torch.cos(torch.pi * fall)
    return torch.fft.irfft(bins * kept, n=size) * (size / wave.shape[1])


@torch.inference_mode()
def codes_heard(
    content: ContentEncoder, quantiser: Quantiser, wave: Tensor, rate: int, counts: Tensor
) -> Tensor:
    """Waves [B, N] of so many tokens [B] -> codes [B, S], of the first 20 s."""
    heard = resampled(wave * speech_gains(wave), rate, RATE)[:, :CHUNK]
    mel = content.mel(heard)  # [B, M, 4S]
    mel = mel * length_mask(4 * counts, mel.shape[2])
    mask = length_mask(2 * counts, mel.shape[2] // 2)[:, None].bool()  # [B, 1, 1, 2S]
    features = content.top(content.trunk(mel, mask), mask)
    return quantiser.codes(quantiser.project(features))


@torch.inference_mode()
def odds_heard(phones: PhoneTable, codes: Tensor, group: Group) -> Tensor:
    """Codes [B, T] -> log odds [B, P] of every phoneme around the tokens that say it, as `takes.odds_said`."""
    batch, size = group.ids.shape
    odds = torch.zeros(batch, codes.shape[1], size, device=codes.device)  # [B, T, P]
    kinds, shares = phones.phones[codes], phones.odds[codes].float()  # 2 x [B, T, n]
    for kind, share in zip(kinds.unbind(2), shares.unbind(2), strict=True):
        odds += (kind[:, :, None] == group.ids[:, None]) * share[:, :, None]
    behind = group.path < 0
    path = group.path.masked_fill(behind, size).contiguous()  # [B, S], sorted
    place = torch.arange(size, device=codes.device).expand(batch, size).contiguous()
    begin = torch.searchsorted(path, place)  # [B, P]
    end = torch.searchsorted(path, place, right=True)
    said = (end > begin)[:, None]  # [B, 1, P]
    token = torch.arange(codes.shape[1], device=codes.device)[None, :, None]  # [1, T, 1]
    around = (token >= (begin - SLACK)[:, None]) & (token < (end + SLACK)[:, None]) & said
    around = around & (token < group.counts[:, None, None])
    return (odds * around).amax(1).clamp_min(LEAST).log()
