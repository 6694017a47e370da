"""Simple machines that say a recording again: fakes for training, of people's own words and rooms.

`phases` keeps the magnitudes on a mel scale and finds phases for them (Griffin and Lim's
iteration); `vocoded` drives smoothed envelopes with pulses and noise in the short-time spectrum;
`pulsed` adds up one response of least phase a pitch period, as vocoders do. They teach the detector what
resynthesis has in common, apart from any one network; neither is good enough to be heard as a
person.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .. import audio
from .matching import RATE

Wave = NDArray[np.float32]
FFT, HOP = 512, 128
FLOOR = 1e-5
STEP, LONG, UNVOICED = 80, 1024, 200.0  # of `pulsed`: samples, samples, pulses a second


def phases(wave: Wave, dice: np.random.Generator) -> Wave:
    """16 kHz [N] -> the same from a mel spectrogram of 60 to 100 bands, phases guessed."""
    bands, rounds = int(dice.integers(60, 101)), int(dice.integers(8, 33))
    bank = audio.mel_filterbank(RATE, FFT, bands, 0.0, RATE / 2)  # [M, F]
    window = torch.hann_window(FFT)
    signal = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    size = _transform(signal, window).abs()
    spread = torch.linalg.pinv(bank.float()) @ (bank.float() @ size)
    spread = spread.clamp_min(0.0)
    angle = torch.from_numpy(dice.uniform(-np.pi, np.pi, tuple(size.shape)).astype("f4"))
    phase = torch.polar(torch.ones_like(spread), angle)
    made = signal
    for _ in range(rounds):
        made = torch.istft(spread * phase, FFT, HOP, window=window, length=len(signal))
        heard = _transform(made, window)
        phase = heard / heard.abs().clamp_min(1e-8)
    return made.numpy()


def vocoded(wave: Wave, dice: np.random.Generator) -> Wave:
    """16 kHz [N] -> its envelope, driven by pulses where it is voiced and by noise elsewhere."""
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    track = np.repeat(audio.f0(wave, RATE, HOP / RATE), HOP)
    track = np.pad(track, (0, max(0, len(wave) - len(track))), "edge")[: len(wave)]
    turns = np.floor(np.cumsum(track / RATE))
    pulses = np.diff(turns, prepend=0.0) > 0
    noise = dice.standard_normal(len(wave)).astype(np.float32)
    period = np.sqrt(RATE / np.maximum(track, 60.0))
    breath = dice.uniform(0.05, 0.4)
    driven = np.where(track > 0, pulses * period + breath * noise, noise).astype(np.float32)
    window = torch.hann_window(FFT)
    envelope = _envelope(
        _transform(torch.from_numpy(wave), window).abs(), int(dice.integers(20, 41))
    )
    source = _transform(torch.from_numpy(driven), window)
    made = torch.istft(source * envelope, FFT, HOP, window=window, length=len(wave))
    return made.numpy()


def pulsed(wave: Wave, dice: np.random.Generator) -> Wave:
    """16 kHz [N] -> a sum of pulses, each filtered to the envelope there with the least phase."""
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    track = np.repeat(audio.f0(wave, RATE, STEP / RATE), STEP)
    track = np.pad(track, (0, max(0, len(wave) - len(track))), "edge")[: len(wave)]
    rate = np.where(track > 0, track, UNVOICED)
    onsets = np.flatnonzero(np.diff(np.floor(np.cumsum(rate / RATE)), prepend=0.0) > 0)
    if len(onsets) == 0:
        return wave
    window = torch.hann_window(LONG // 2)
    size = torch.stft(
        torch.from_numpy(wave), LONG, STEP, LONG // 2, window, return_complex=True
    ).abs()  # [F, T]
    response = _least_phase(size[:, onsets // STEP].T.numpy(), int(dice.integers(24, 64)))
    rough = np.linspace(dice.uniform(0, 0.15), dice.uniform(0.2, 1.0), LONG // 2 + 1)
    rough = np.where(track[onsets, None] > 0, rough, 1.0)  # share of noise, by frequency
    period = RATE / rate[onsets]
    noise = dice.standard_normal((len(onsets), LONG)) * (np.arange(LONG) < period[:, None])
    source = np.sqrt(period[:, None] * (1 - rough**2)) + np.fft.rfft(noise) * rough
    pieces = np.fft.irfft(response * source)  # [P, LONG]
    made = np.zeros(len(wave) + LONG)
    for onset, piece in zip(onsets, pieces, strict=True):
        made[onset : onset + LONG] += piece
    return made[: len(wave)].astype(np.float32)


def _least_phase(size: NDArray[np.floating], kept: int) -> NDArray[np.complex128]:
    """Magnitudes [P, F] -> their envelopes with the least phase that has them, [P, F]."""
    cepstrum = np.fft.irfft(np.log(size + FLOOR))  # [P, LONG]
    cepstrum[:, 1:kept] *= 2.0
    cepstrum[:, kept:] = 0.0
    return np.exp(np.fft.rfft(cepstrum))


def _transform(wave: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """[N] -> [F, T]."""
    return torch.stft(wave, FFT, HOP, window=window, return_complex=True)


def _envelope(size: torch.Tensor, kept: int) -> torch.Tensor:
    """Magnitudes [F, T], smoothed by keeping so many cepstral coefficients."""
    cepstrum = torch.fft.irfft(torch.log(size + FLOOR), dim=0)  # [FFT, T]
    cepstrum[kept : len(cepstrum) - kept + 1] = 0.0
    return torch.fft.rfft(cepstrum, dim=0).real.exp()
