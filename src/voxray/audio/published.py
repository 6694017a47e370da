"""How the published models hear: waves to spectrograms, mels and HuBERT's input, as in training.

Torch and differentiable: `family_spectrogram` [B, N] -> [B, 1025, N // 640], `loss_mel` and
`vocoder_mel` [B, N] -> [B, bands, N // hop], `sinc_resample` [..., N] -> [..., M]. In numpy, for
the recordings that users bring: `reference_wave` and `prompt_wave`, [N] -> [M]. The published code
resamples in two ways, by a windowed sinc and by soxr; a parity run needs both.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .spectra import log_mel, log_mel_of, resample, spectrogram

RATE, N_FFT, HOP = 32_000, 2048, 640  # of the linear spectrogram: 50 frames a second
LOSS_MELS = 128
VOCODER_MELS = 100
VOCODER_FRAMES = {24_000: (1024, 256), 32_000: (1280, 320)}  # rate: (n_fft, hop)
LOWEST, SPAN = -12.0, 14.0  # the log-mel values that the flow-matching models map to -1..1

PROMPT_RATE = 16_000  # HuBERT's
SHORTEST_PROMPT, LONGEST_PROMPT = 48_000, 160_000  # samples at that rate: 3 s and 10 s

# Zeros appended to a prompt. The published code counts 0.3 s at 32 kHz and appends as many samples
# at 16 kHz: 0.6 s. The silence changes the prompt tokens, so a compatible run must make it too.
PUBLISHED_SILENCE = 9_600
INTENDED_SILENCE = 4_800

SINC_WIDTH, SINC_ROLLOFF = 6, 0.99  # zero crossings on each side; share of the band that is kept


def family_spectrogram(wave: Tensor) -> Tensor:
    """Magnitudes at 32 kHz, of a reference or for the posterior; [B, N] -> [B, 1025, N // 640]."""
    return spectrogram(wave, N_FFT, HOP)


def loss_mel(wave: Tensor) -> Tensor:
    """What the generator's mel loss compares, at 32 kHz; [B, N] -> [B, 128, N // 640]."""
    return loss_mel_of(family_spectrogram(wave))


def loss_mel_of(magnitudes: Tensor) -> Tensor:
    """`loss_mel` of a `family_spectrogram`; [B, 1025, T] -> [B, 128, T]."""
    return log_mel_of(magnitudes, RATE, LOSS_MELS)


def vocoder_mel(wave: Tensor, rate: int) -> Tensor:
    """Natural log-mel that the vocoder of this rate speaks from; [B, N] -> [B, 100, N // hop]."""
    if rate not in VOCODER_FRAMES:
        known = " and ".join(f"{known} Hz" for known in VOCODER_FRAMES)
        raise ValueError(f"the published vocoders work at {known}, not at {rate} Hz")
    n_fft, hop = VOCODER_FRAMES[rate]
    return log_mel(wave, rate, n_fft, hop, VOCODER_MELS)


def scaled(mel: Tensor) -> Tensor:
    """A `vocoder_mel` as the flow-matching models see it, about -1..1."""
    return (mel - LOWEST) / SPAN * 2 - 1


def unscaled(mel: Tensor) -> Tensor:
    """The inverse of `scaled`: what the vocoder gets."""
    return (mel + 1) / 2 * SPAN + LOWEST


def sinc_resample(wave: Tensor, rate_from: int, rate_to: int) -> Tensor:
    """Resampling by a sinc in a Hann window; [..., N] -> [..., ceil(N * rate_to / rate_from)].

    One convolution with stride: each of its output channels is one phase between input samples.
    """
    if rate_from == rate_to:
        return wave
    step, phases = _ratio(rate_from, rate_to)
    kernel = torch.from_numpy(_sinc_kernel(step, phases)).to(wave)  # [phases, 1, 2 reach + step]
    reach = (kernel.shape[2] - step) // 2
    rows = wave.reshape(-1, 1, wave.shape[-1])  # [B, 1, N]
    made = functional.conv1d(functional.pad(rows, (reach, reach + step)), kernel, stride=step)
    length = math.ceil(wave.shape[-1] * phases / step)
    return made.transpose(1, 2).reshape(*wave.shape[:-1], -1)[..., :length]


def _ratio(rate_from: int, rate_to: int) -> tuple[int, int]:
    common = math.gcd(rate_from, rate_to)
    return rate_from // common, rate_to // common


# An array is kept, no tensor: one first made under inference mode could never be trained through.
@lru_cache(maxsize=16)
def _sinc_kernel(step: int, phases: int) -> NDArray[np.float64]:  # [phases, 1, 2 reach + step]
    band = min(step, phases) * SINC_ROLLOFF  # crossings of zero per `step` input samples
    reach = math.ceil(SINC_WIDTH * step / band)
    inputs = np.arange(-reach, reach + step) / step  # in units of `step` input samples
    outputs = np.arange(phases) / phases
    distance = (inputs[None] - outputs[:, None]) * band
    distance = distance.clip(-SINC_WIDTH, SINC_WIDTH)
    window = np.cos(distance * np.pi / SINC_WIDTH / 2) ** 2
    return (np.sinc(distance) * window * band / step)[:, None]


def reference_wave(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """A recording as `family_spectrogram` wants it: 32 kHz, a peak above 1 brought down.

    The divisor is the peak, but 2 at the most: what is louder still stays above 1.
    """
    wave = sinc_resample(torch.from_numpy(np.array(wave, np.float32)), rate, RATE).numpy()
    peak = float(np.abs(wave).max(initial=0.0))
    return (wave / min(2.0, peak)).astype(np.float32) if peak > 1 else wave


def check_length(wave: NDArray[np.float32], rate: int) -> None:
    """ValueError unless a reference is as long as the published models want it."""
    length = math.ceil(len(wave) * PROMPT_RATE / rate)
    if not SHORTEST_PROMPT <= length <= LONGEST_PROMPT:
        raise ValueError(f"the reference is {len(wave) / rate:.2f} s long; need 3-10 s")


def prompt_wave(
    wave: NDArray[np.float32], rate: int, *, compat: bool = True
) -> NDArray[np.float32]:
    """A recording as HuBERT gets it for prompt tokens: 16 kHz by soxr, then silence.

    `compat` appends the 0.6 s of the published code, else the 0.3 s that it speaks of.
    """
    made = resample(wave, rate, PROMPT_RATE)
    length = math.ceil(len(wave) * PROMPT_RATE / rate)  # soxr rounds, the published reader up
    check_length(wave, rate)
    silence = PUBLISHED_SILENCE if compat else INTENDED_SILENCE
    return np.pad(made, (0, max(0, length - len(made)) + silence))
