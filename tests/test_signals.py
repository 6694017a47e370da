"""What the published models hear: our signals against the recorded ones, and on their own.

The recorded ones lie in the folder that VOXRAY_PARITY names, else beside the checkout; where there
is none, those tests are skipped.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import recorded
from voxray.audio import published, resample
from voxray.audio.kaldi import fbank

CASE = recorded.FOLDER / "cases" / "signal.npz"
recorded = pytest.mark.skipif(not CASE.is_file(), reason="the recorded signals are not here")


def sine(rate: int, seconds: float = 0.25, hz: float = 440.0) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def case() -> dict[str, NDArray[np.float32]]:
    with np.load(CASE) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "meta"}


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Relative L2."""
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(ours.astype(float) - theirs) / np.linalg.norm(theirs.astype(float)))


def batch(wave: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(wave)[None]


# Recorded


@recorded
def test_spectrogram_is_the_recorded_one() -> None:
    signals = case()
    made = published.family_spectrogram(batch(signals["wave32k"]))[0].numpy()
    assert distance(made, signals["spectrogram"]) <= 1e-5


@recorded
@pytest.mark.parametrize("name", ["mel128", "mel128_from_spec", "mel_v3", "mel_v4", "fbank80"])
def test_log_mel_is_the_recorded_one(name: str) -> None:
    signals = case()
    if name == "fbank80":
        made = fbank(signals["wave16k"], centred=False)
    elif name == "mel128":
        made = published.loss_mel(batch(signals["wave32k"]))[0].numpy()
    elif name == "mel128_from_spec":
        made = published.loss_mel_of(batch(signals["spectrogram"]))[0].numpy()
    else:
        rate = {"mel_v3": 24_000, "mel_v4": 32_000}[name]
        made = published.vocoder_mel(batch(signals[f"wave{rate // 1000}k"]), rate)[0].numpy()
    assert distance(made, signals[name]) <= 3e-5
    assert np.abs(made - signals[name]).max() <= 5e-3


@recorded
@pytest.mark.parametrize("rates", [(44_100, 32_000), (44_100, 24_000), (32_000, 16_000)])
def test_sinc_resampling_is_the_recorded_one(rates: tuple[int, int]) -> None:
    signals = case()
    wave = signals[f"wave{rates[0] // 1000}k"]
    made = published.sinc_resample(batch(wave), *rates)[0].numpy()
    assert distance(made, signals[f"resample_{rates[0]}_{rates[1]}"]) <= 1e-5


@recorded
def test_soxr_resampling_is_the_recorded_one() -> None:
    signals = case()
    made = resample(signals["wave44k"], 44_100, 16_000)
    assert distance(made, signals["soxr_44100_16000"]) <= 1e-4


# On their own


def test_spectrogram_is_a_fourier_transform() -> None:
    wave = batch(noise(6_500))
    padded = torch.nn.functional.pad(wave[None], (704, 704), mode="reflect")[0]
    bins = torch.stft(
        padded, 2048, 640, window=torch.hann_window(2048), center=False, return_complex=True
    )
    made = published.family_spectrogram(wave)
    assert made.shape == (1, 1025, 10)
    assert torch.allclose(made, (bins.abs() ** 2 + 1e-8).sqrt(), atol=1e-5)


def test_mels_have_their_shapes_and_scale() -> None:
    assert published.loss_mel(batch(noise(3_200))).shape == (1, 128, 5)
    assert published.vocoder_mel(batch(noise(2_560)), 24_000).shape == (1, 100, 10)
    mel = published.vocoder_mel(batch(noise(3_200)), 32_000)
    assert mel.shape == (1, 100, 10)
    assert torch.allclose(published.scaled(torch.tensor([-12.0, 2.0])), torch.tensor([-1.0, 1.0]))
    assert torch.allclose(published.unscaled(published.scaled(mel)), mel, atol=1e-5)
    with pytest.raises(ValueError, match="24000 Hz and 32000 Hz"):
        published.vocoder_mel(batch(noise(3_200)), 16_000)


@pytest.mark.parametrize("rates", [(44_100, 32_000), (16_000, 24_000), (32_000, 16_000)])
def test_the_resampler_keeps_a_sine(rates: tuple[int, int]) -> None:
    rate_from, rate_to = rates
    made = published.sinc_resample(torch.from_numpy(sine(rate_from)), rate_from, rate_to).numpy()
    wanted = sine(rate_to)
    assert made.shape == wanted.shape
    inner = slice(rate_to // 50, -rate_to // 50)  # the ends ring
    assert np.abs(made - wanted)[inner].max() < 5e-3


def test_the_resampler_can_be_trained_through_after_listening() -> None:
    wave = batch(noise(700))
    with torch.inference_mode():
        heard = published.sinc_resample(wave, 48_000, 11_000)
    wave.requires_grad_()
    made = published.sinc_resample(wave, 48_000, 11_000)
    made.square().sum().backward()
    assert torch.equal(made.detach(), heard)
    assert wave.grad is not None and wave.grad.abs().sum() > 0
    assert published.sinc_resample(wave, 8_000, 8_000) is wave


@pytest.mark.parametrize(("peak", "wanted"), [(0.5, 0.5), (1.5, 1.0), (3.0, 1.5)])
def test_loud_references_are_brought_down(peak: float, wanted: float) -> None:
    wave = noise(1_000)
    wave *= peak / np.abs(wave).max()
    made = published.reference_wave(wave, published.RATE)
    assert made.dtype == np.float32
    assert np.allclose(np.abs(made).max(), wanted)
    assert np.allclose(np.abs(wave).max(), peak)  # the caller's array is left alone


def test_a_prompt_ends_in_silence() -> None:
    wave = sine(48_000, 3.0)
    compat, intended = (published.prompt_wave(wave, 48_000, compat=on) for on in (True, False))
    assert len(compat) == 48_000 + 9_600
    assert len(intended) == 48_000 + 4_800
    assert not compat[48_000:].any()
    assert np.array_equal(compat[: len(intended)], intended)
    odd = published.prompt_wave(noise(132_302), 44_100)  # 48000.7 samples at 16 kHz
    assert len(odd) == 48_001 + 9_600


@pytest.mark.parametrize("seconds", [2.99, 10.01])
def test_prompts_have_a_length(seconds: float) -> None:
    with pytest.raises(ValueError, match="need 3-10 s"):
        published.prompt_wave(noise(round(16_000 * seconds)), 16_000)
    published.prompt_wave(noise(160_000), 16_000)


def test_the_mean_can_stay_in_the_filter_banks() -> None:
    wave = noise(4_000)
    whole, centred = fbank(wave, centred=False), fbank(wave)
    assert whole.shape == (23, 80)
    assert np.allclose(whole - whole.mean(0), centred, atol=1e-4)
    louder = fbank(wave, scale=32_768.0, centred=False) - whole
    assert np.allclose(louder, 2 * np.log(32_768.0), atol=1e-3)
