"""What can be asked of a sound, as differentiable numbers: pitch, energy, likeness to a speaker.

In: what the generator made ([B, N] samples, latents), a span of seconds. Out: one number an item [B].
Pitch is in semitones above 100 Hz: read from the decoder's explicit pitch latents where it has them
(mini), else from the waveform: the log-lag mean of a sharpened autocorrelation, an estimate whose gap to
Praat's F0 `pitch_gap` gives. Energy is the mean level in dB. Likeness is the cosine between the speaker
vectors of what was made and of the voice, by the model's own encoder: it is no independent judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import audio
from ..audio.published import sinc_resample
from ..models.decoder_istft import IstftDecoder
from ..models.generator import Generator, GeneratorOutput
from ..models.posterior_mel import REFERENCE_HZ, read_pitch

BASE_HZ = 100.0
LOW_HZ, HIGH_HZ = 60.0, 500.0
SHARPNESS = 60.0  # of the softmax over lags: a strength of 1 counts 20 times one of 0.95
FRAME_SECONDS, STEP_SECONDS = 0.04, 0.02
QUIET = 1e-8  # power below which nothing is heard

NAMES = ("pitch", "energy", "speaker")
UNITS = {"pitch": "semitones", "energy": "dB", "speaker": "cosine"}


@dataclass(frozen=True)
class Span:
    """Seconds of a passage's own sound; the whole of it by default."""

    start_s: float = 0.0
    end_s: float = float("inf")

    def cut(self, frames: int, frames_per_second: float) -> slice:
        """The frames inside; an empty span is an error."""
        begin = max(0, round(self.start_s * frames_per_second))
        end = min(frames, int(min(self.end_s * frames_per_second, frames)) or 1)
        if end <= begin:
            raise ValueError(
                f"{self.start_s:.2f}-{self.end_s:.2f} s lies outside the sound, which is "
                f"{frames / frames_per_second:.2f} s long"
            )
        return slice(begin, end)


def measure(
    generator: Generator, name: str, span: Span, voiced: Tensor, speaker: Tensor
) -> Callable[[GeneratorOutput], Tensor]:
    """The function that reads property `name` off what the generator made.

    `voiced` [T'] (50 frames a second) says where the unedited run had a voice, `speaker` [G] whose
    likeness is asked for.
    """
    rate = generator.config.sample_rate
    if name == "pitch":
        return lambda made: pitch(generator, made, span, voiced)
    if name == "energy":
        return lambda made: energy(made.audio, rate, span)
    if name == "speaker":
        return lambda made: likeness(generator, made.audio, speaker)
    raise ValueError(f"no property {name!r}; there are: {', '.join(NAMES)}")


def voiced_frames(wave: Tensor, rate: int) -> Tensor:
    """Where a sound [N] has a voice, every 20 ms, by Praat [T]."""
    return torch.from_numpy(audio.f0(wave.detach().numpy(), rate, STEP_SECONDS) > 0)


def pitch(generator: Generator, made: GeneratorOutput, span: Span, voiced: Tensor) -> Tensor:
    """Mean height in semitones over the voiced frames of a span [B]."""
    if isinstance(generator.decoder, IstftDecoder):
        octaves, _ = read_pitch(made.latents.transpose(1, 2))  # [B, 2T]
        height = 12 * (octaves + float(np.log2(REFERENCE_HZ / BASE_HZ)))
    else:
        height = soft_pitch(made.audio, generator.config.sample_rate)
    count = height.shape[1]
    frames = made.latents.shape[2]  # the sound itself need not have been made
    seconds = frames * generator.config.hop / generator.config.sample_rate
    kept = F.interpolate(voiced[None, None].float(), size=count)[0, 0] > 0.5
    inside = span.cut(count, count / seconds)
    kept = kept[inside]
    if not bool(kept.any()):
        raise ValueError("the span holds no voiced sound: it has no pitch")
    return height[:, inside][:, kept].mean(1)


def soft_pitch(wave: Tensor, rate: int) -> Tensor:
    """Height in semitones above 100 Hz, every 20 ms, by a soft maximum of autocorrelation [B, T]."""
    size, step = round(FRAME_SECONDS * rate), round(STEP_SECONDS * rate)
    frames = F.pad(wave, (size // 2, size // 2)).unfold(1, size, step)  # [B, T, size]
    frames = frames - frames.mean(2, keepdim=True)
    spectrum = torch.fft.rfft(frames, 2 * size)
    raw = torch.fft.irfft(spectrum.abs().square())[..., :size]  # [B, T, lags]
    low, high = int(rate / HIGH_HZ), min(int(rate / LOW_HZ), size - 1)
    # not evened out for the fewer samples of long lags: a period must beat its multiples
    strength = raw[..., low:high] / (raw[..., :1] + QUIET * size)
    weight = (SHARPNESS * strength).softmax(-1)
    semitones = 12 * torch.log2(rate / torch.arange(low, high).to(wave) / BASE_HZ)
    return (weight * semitones).sum(-1)


def pitch_gap(generator: Generator, made: GeneratorOutput) -> float:
    """Median distance in semitones between `pitch`'s reading and Praat's, over voiced frames."""
    rate = generator.config.sample_rate
    wave = made.audio[0].detach().clamp(-1, 1)
    praat = audio.f0(wave.numpy(), rate, STEP_SECONDS)
    if isinstance(generator.decoder, IstftDecoder):
        octaves, _ = read_pitch(made.latents.detach().transpose(1, 2))
        height = 12 * (octaves + float(np.log2(REFERENCE_HZ / BASE_HZ)))
    else:
        height = soft_pitch(made.audio.detach(), rate)
    ours = F.interpolate(height[:, None], size=len(praat), mode="linear")[0, 0].numpy()
    voiced = praat > 0
    if not voiced.any():
        raise ValueError("the sound has no voiced frame: it has no pitch")
    return float(np.median(np.abs(ours[voiced] - 12 * np.log2(praat[voiced] / BASE_HZ))))


def energy(wave: Tensor, rate: int, span: Span) -> Tensor:
    """Mean level in dB over a span [B]."""
    inside = span.cut(wave.shape[1], rate)
    return 10 * torch.log10(wave[:, inside].square().mean(1) + QUIET)


def likeness(generator: Generator, wave: Tensor, speaker: Tensor) -> Tensor:
    """Cosine between the speaker vector of a sound [B, N] and a given one [G], by the model itself."""
    if generator.fusion is not None:
        raise ValueError(
            "this model's speaker vector also needs a verification embedding, which is not "
            "differentiable here: ask for pitch or energy"
        )
    heard = sinc_resample(wave, generator.config.sample_rate, generator.reference_rate)
    return F.cosine_similarity(generator.speaker_vector(heard), speaker[None], dim=1)
