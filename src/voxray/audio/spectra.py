"""Wave [B, N] to spectrogram and log-mel [B, C, N // hop] (torch, differentiable); resampling and
F0 (numpy).

Frame i of a spectrogram, of a log-mel and of `f0` is centred on (i + 1/2) hops, so that they line
up. The mel scale and its triangles are Slaney's (Auditory Toolbox, 1998), the ones librosa uses by
default.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def resample(wave: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Band-limited resampling (soxr, high quality) -> float32 [round(N * rate_to / rate_from)]."""
    wave = np.asarray(wave, dtype=np.float32)
    if rate_from == rate_to or len(wave) == 0:
        return wave
    return soxr.resample(wave, rate_from, rate_to, quality="HQ").astype(np.float32, copy=False)


def spectrogram(
    wave: Tensor, n_fft: int, hop: int
) -> Tensor:  # [B, N] -> [B, n_fft // 2 + 1, N // hop]
    """Magnitudes, Hann window of n_fft, padded by reflection (zeros where the wave is too short for
    it).
    """
    if wave.dim() != 2 or wave.shape[1] < hop:
        raise ValueError(
            f"spectrogram needs [batch, samples], {hop} samples or more; got {tuple(wave.shape)}"
        )
    left = (n_fft - hop) // 2
    right = n_fft - hop - left
    mode = "reflect" if wave.shape[1] > max(left, right) else "constant"
    padded = functional.pad(wave.unsqueeze(1), (left, right), mode=mode).squeeze(1)
    window = torch.hann_window(n_fft, device=wave.device, dtype=wave.dtype)
    bins = torch.stft(padded, n_fft, hop, n_fft, window, center=False, return_complex=True)
    return (bins.real.square() + bins.imag.square() + 1e-8).sqrt()  # 1e-8: a gradient at silence


def log_mel(
    wave: Tensor,
    rate: int,
    n_fft: int,
    hop: int,
    n_mels: int,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> Tensor:  # [B, N] -> [B, n_mels, N // hop]
    """Natural log of the Slaney mel spectrogram, floored at 1e-5."""
    return log_mel_of(spectrogram(wave, n_fft, hop), rate, n_mels, fmin, fmax)


def log_mel_of(
    magnitudes: Tensor, rate: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:  # [B, n_fft // 2 + 1, T] -> [B, n_mels, T]
    """`log_mel` of a spectrogram that is already there."""
    n_fft = 2 * (magnitudes.shape[-2] - 1)
    bank = mel_filterbank(rate, n_fft, n_mels, fmin, fmax).to(magnitudes)
    return (bank @ magnitudes).clamp_min(1e-5).log()


def mel_filterbank(
    rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Triangles of equal area on Slaney's mel scale (Auditory Toolbox, 1998) -> [n_mels, n_fft // 2
    + 1].
    """
    top = rate / 2 if fmax is None else fmax
    if not 0 <= fmin < top <= rate / 2:
        raise ValueError(f"mel range {fmin:g}-{top:g} Hz does not fit a rate of {rate} Hz")
    return torch.from_numpy(_triangles(rate, n_fft, n_mels, fmin, top)).float()


# An array is kept, no tensor: one first made under inference mode could never be trained through.
@lru_cache(maxsize=32)
def _triangles(rate: int, n_fft: int, n_mels: int, fmin: float, top: float) -> NDArray[np.float64]:
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(top), n_mels + 2))  # [n_mels + 2]
    distance = edges[:, None] - np.linspace(0, rate / 2, n_fft // 2 + 1)[None]  # [n_mels + 2, bins]
    width = np.diff(edges)[:, None]
    triangles = np.maximum(0.0, np.minimum(-distance[:-2] / width[:-1], distance[2:] / width[1:]))
    return triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]


# Slaney's scale: linear up to 1 kHz (15 mels), then 27 mels for every factor of 6.4.
def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def f0(
    wave: np.ndarray, rate: int, hop_seconds: float, floor: float = 60.0, ceiling: float = 500.0
) -> np.ndarray:
    """Fundamental frequency in Hz (Praat's autocorrelation; 0 where unvoiced) -> float32 [N //
    hop].

    Frame i is centred on (i + 1/2) hops. Pieces shorter than three periods of `floor` come out
    unvoiced.
    """
    import parselmouth  # loads Praat: half a second that reading a file need not pay

    count = int(len(wave) / rate / hop_seconds + 1e-6)
    if len(wave) / rate < 3.2 / floor or count == 0:
        return np.zeros(count, dtype=np.float32)
    sound = parselmouth.Sound(np.asarray(wave, dtype=np.float64), sampling_frequency=rate)
    pitch = sound.to_pitch_ac(time_step=hop_seconds, pitch_floor=floor, pitch_ceiling=ceiling)
    wanted = (np.arange(count) + 0.5) * hop_seconds
    nearest = np.round((wanted - pitch.xs()[0]) / hop_seconds).astype(int)
    inside = (nearest >= 0) & (nearest < pitch.n_frames)  # Praat leaves out the edges
    track = np.zeros(count, dtype=np.float32)
    track[inside] = pitch.selected_array["frequency"][nearest[inside]]
    return track
