"""Products in place of Fourier transforms: the same functions, and trainable in any order of use."""

from __future__ import annotations

import torch

from voxray.models.decoder_istft import _inverse, overlap_add
from voxray.train.autoencoder import _power


def spectrum(frames: int) -> torch.Tensor:
    dice = torch.Generator().manual_seed(0)
    bins = torch.randn(2, 257, frames, dtype=torch.complex64, generator=dice)
    bins[:, [0, -1]] = bins[:, [0, -1]].real.to(bins.dtype)
    return bins


def test_overlap_add_is_the_inverse_stft() -> None:
    bins = spectrum(40)
    pairs = torch.cat([bins.real, bins.imag], dim=1).transpose(1, 2)
    padded = torch.nn.functional.pad(bins, (0, 1))
    wave = torch.istft(padded, 512, 240, window=torch.hann_window(512), length=40 * 240)
    torch.testing.assert_close(overlap_add(pairs, 512, 240), wave, rtol=0, atol=2e-6)


def test_training_after_speaking_in_one_process() -> None:
    _inverse.cache_clear()
    pairs = torch.randn(1, 8, 514, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        spoken = overlap_add(pairs, 512, 240)
    pairs.requires_grad_(True)
    trained = overlap_add(pairs, 512, 240)
    trained.square().sum().backward()
    assert torch.equal(trained.detach(), spoken)
    assert pairs.grad is not None and pairs.grad.abs().sum() > 0


def test_the_loss_sees_the_power_of_the_stft() -> None:
    wave = torch.randn(2, 4096, generator=torch.Generator().manual_seed(2))
    window = torch.hann_window(512)
    bins = torch.stft(wave, 512, 128, window=window, center=False, return_complex=True)
    power = bins.abs().square().transpose(1, 2)
    torch.testing.assert_close(_power(wave, 512, 128), power, rtol=1e-3, atol=1e-3)
