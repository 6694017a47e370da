"""The posterior of `mini`: components of the log-mel, explicit pitch, and a decoder that starts as its inverse."""

from __future__ import annotations

import pytest
import torch

from conftest import speechlike
from voxray.audio import resample
from voxray.config import IstftDecoderConfig, MelPosteriorConfig
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.posterior_mel import PITCH_LATENTS, MelPosterior, pitch_latents, read_pitch


@pytest.fixture
def waves() -> torch.Tensor:
    """Four pieces of something like speech at 24 kHz, [4, 24000]."""
    return torch.stack(
        [torch.from_numpy(resample(speechlike(1.0 + 0.01 * i), 16_000, 24_000)[:24_000]) for i in range(4)]
    )  # fmt: skip


def test_the_latents_are_white_and_give_the_mel_back(waves: torch.Tensor) -> None:
    posterior = MelPosterior(MelPosteriorConfig(width=8, layers=1)).eval()
    back = posterior.fit(waves, noise=0.05)
    f0 = torch.zeros(4, 100)
    with torch.no_grad():
        mean, log_std = posterior(waves, f0)
    shape = mean[:, PITCH_LATENTS:].transpose(1, 2).flatten(0, 1)  # [N, Z - 4]
    # the last components of so little sound hold next to nothing and are not blown up
    torch.testing.assert_close(shape.var(0)[:24], torch.ones(24), rtol=0.02, atol=0.02)
    mel = posterior.pairs(waves).flatten(0, 1)
    lost = (shape @ back + posterior.centre - mel).var(0).sum() / mel.var(0).sum()
    assert lost < 0.05
    assert (log_std <= 0).all()


def test_its_network_starts_at_nothing(waves: torch.Tensor) -> None:
    posterior = MelPosterior(MelPosteriorConfig(width=8, layers=1)).eval()
    f0 = torch.full((4, 100), 120.0)
    with torch.no_grad():
        for a, b in zip(posterior(waves, f0), posterior(waves, f0, moved=False), strict=True):
            torch.testing.assert_close(a, b)


def test_pitch_survives_the_latents_and_is_carried_through_gaps() -> None:
    f0 = torch.tensor([[0.0, 100.0, 0.0, 0.0, 200.0, 0.0], [0.0] * 6])
    octaves, voicing = read_pitch(pitch_latents(f0))
    assert (voicing > 0).tolist() == (f0 > 0).tolist()
    hertz = 150.0 * 2.0 ** octaves[0]
    assert hertz[[0, 1, 4, 5]].tolist() == pytest.approx([100.0, 100.0, 200.0, 200.0], rel=1e-4)
    assert 100.0 < hertz[2] < hertz[3] < 200.0
    assert not octaves[1].any()


def test_an_untrained_decoder_already_has_the_envelope(waves: torch.Tensor) -> None:
    """White noise in, nothing learnt yet: the log-mel of what comes out lies close to what went in."""
    posterior = MelPosterior(MelPosteriorConfig(width=8, layers=1)).eval()
    decoder = IstftDecoder(IstftDecoderConfig(width=8, layers=1)).eval()
    decoder.start_from(posterior.fit(waves), posterior.centre, posterior.bank)
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        z, _ = posterior(waves, torch.zeros(4, 100))
        made = decoder(z, None, noise).audio
    apart = 3.0 * (posterior.mel(made) - posterior.mel(waves))[:, 2:-2]  # nepers
    spread = 3.0 * posterior.mel(waves).std()
    assert apart.mean().abs() < 0.5
    assert apart.std() < 0.6 * spread
