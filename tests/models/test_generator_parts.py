"""Prior, speaker encoder, posteriors, fusion, HiFi-GAN, discriminators: shapes and contracts."""

from __future__ import annotations

import pytest
import torch

from voxray.config import (
    ArticlePosteriorConfig,
    FusionConfig,
    HifiganConfig,
    PosteriorConfig,
    PriorConfig,
    SpeakerConfig,
    SpectralDiscriminatorConfig,
    WaveDiscriminatorConfig,
)
from voxray.models.article_posterior import ArticlePosterior
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.discriminators import SpectralDiscriminators, WaveDiscriminators
from voxray.models.fusion import SequenceFusion, VectorFusion
from voxray.models.layers import fuse_weight_norm
from voxray.models.posterior import Posterior
from voxray.models.prior import Prior
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import attach, record, sites

PRIOR = PriorConfig(
    text_symbols=20,
    input_channels=12,
    hidden=16,
    filter=24,
    content_layers=1,
    text_layers=1,
    joint_layers=1,
    cross_width=8,
    cross_heads=2,
    speaker_width=8,
    latent_channels=6,
)
SPEAKER = SpeakerConfig(input_bins=10, hidden=16, speaker_width=8)
DECODER = HifiganConfig(
    input_channels=6, initial_channels=16, rates=(4, 2), kernels=(8, 4), speaker_width=8
)


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture()
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(PRIOR).eval()


def prior_inputs() -> tuple[torch.Tensor, ...]:
    text = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(0))
    return some(2, 12, 11), torch.tensor([11, 8]), text, torch.tensor([7, 5]), some(2, 8, 1)


@torch.no_grad()
def test_prior_shapes_and_speed(prior: Prior) -> None:
    out = prior(*prior_inputs())
    assert out.mean.shape == out.log_std.shape == (2, 6, 11)
    assert out.features.shape == (2, 16, 11) and out.mask.sum() == 19
    assert prior(*prior_inputs(), speed=0.8).mean.shape[2] == int(11 / 0.8) + 1
    with pytest.raises(ValueError, match="speed"):
        prior(*prior_inputs(), speed=0.0)


@torch.no_grad()
def test_prior_padding_changes_nothing(prior: Prior) -> None:
    features, lengths, text, text_lengths, speaker = prior_inputs()
    whole = prior(features, lengths, text, text_lengths, speaker)
    alone = prior(features[1:, :, :8], lengths[1:], text[1:, :5], text_lengths[1:], speaker[1:])
    assert torch.allclose(alone.mean, whole.mean[1:, :, :8], atol=1e-5)
    assert whole.mean[1, :, 8:].abs().max() == 0


@torch.no_grad()
def test_prior_sites(prior: Prior) -> None:
    plain = prior(*prior_inputs())
    with record(prior, ["text", "attn.z", "mean", "log_std"]) as seen:
        assert torch.equal(prior(*prior_inputs()).mean, plain.mean)
    assert seen["text"][0].shape == (2, 16, 7)
    with record(prior, "attn.pattern") as seen:
        explicit = prior(*prior_inputs())
    assert torch.allclose(explicit.mean, plain.mean, atol=1e-5)
    pattern = seen["attn.pattern"][0]  # [B, H, frames, phones]
    assert pattern.shape == (2, 2, 11, 7) and pattern[1, :, :, 5:].abs().max() == 0
    for name in sites(prior):
        edit = (lambda x: x.roll(1, -1)) if name.endswith("pattern") else (lambda x: x * 0.5 + 0.1)
        if name.endswith("bias"):
            edit = lambda x: x + torch.arange(x.shape[-1])  # noqa: E731
        with attach(prior, {name: edit}):
            out = prior(*prior_inputs())
        same = torch.equal(out.mean, plain.mean) and torch.equal(out.log_std, plain.log_std)
        assert not same, name


@torch.no_grad()
def test_prior_projects_a_wider_speaker() -> None:
    wide = Prior(PRIOR.model_copy(update={"speaker_width": 10})).eval()
    assert wide(*prior_inputs()[:4], some(2, 10, 1)).mean.shape == (2, 6, 11)


@torch.no_grad()
def test_speaker_vector_ignores_padding_and_surplus_bins() -> None:
    torch.manual_seed(0)
    encoder = SpeakerEncoder(SPEAKER).eval()
    spectrogram = some(2, 14, 20)
    whole = encoder(spectrogram, torch.tensor([20, 12]))
    assert whole.shape == (2, 8, 1)
    alone = encoder(spectrogram[1:, :10, :12])
    assert torch.allclose(alone, whole[1:], atol=1e-5)
    with attach(encoder, {"vector": lambda v: v * 0}):
        assert encoder(spectrogram).abs().max() == 0


@torch.no_grad()
def test_posterior_noise_is_an_argument() -> None:
    torch.manual_seed(0)
    config = PosteriorConfig(input_bins=9, hidden=8, layers=2, latent_channels=6, speaker_width=8)
    posterior = Posterior(config).eval()
    args = some(2, 9, 10), torch.tensor([10, 7]), some(2, 8, 1)
    silent, noisy = posterior(*args), posterior(*args, noise=some(2, 6, 10, seed=1))
    assert torch.equal(silent.z, silent.mean) and torch.equal(noisy.mean, silent.mean)
    assert not torch.equal(noisy.z, silent.z) and noisy.z[1, :, 7:].abs().max() == 0
    alone = posterior(args[0][1:, :, :7], args[1][1:], args[2][1:])
    assert torch.allclose(alone.z, silent.z[1:, :, :7], atol=1e-5)


def test_article_posterior_learns_units_without_labels() -> None:
    torch.manual_seed(0)
    config = ArticlePosteriorConfig(
        input_bins=9, conv_width=12, gru_width=8, codebook_size=5, latent_channels=6
    )
    posterior = ArticlePosterior(config).train()
    spectrogram, lengths = some(3, 9, 15), torch.tensor([15, 15, 9])
    start = posterior.quantiser.codebook.clone()
    out = posterior(spectrogram, lengths, noise=some(3, 6, 8, seed=1))
    assert out.z.shape == (3, 6, 8) and out.mask[2].sum() == 5
    assert out.codes is not None and out.codes.shape == (3, 8) and int(out.codes.max()) < 5
    (out.z.square().mean() + out.commitment).backward()
    assert posterior.conv[0].weight.grad is not None
    first = posterior.quantiser(some(2, 8, 30), torch.ones(2, 1, 30))[2]
    for _ in range(60):
        last = posterior.quantiser(some(2, 8, 30), torch.ones(2, 1, 30))[2]
    assert last < first  # the codes moved to their members
    assert not torch.equal(start, posterior.quantiser.codebook)
    frozen = posterior.eval().quantiser.codebook.clone()
    posterior(spectrogram, lengths)
    assert torch.equal(frozen, posterior.quantiser.codebook)


@torch.no_grad()
def test_fusion() -> None:
    config = FusionConfig(speaker_width=8, input_width=6)
    assert VectorFusion(config)(some(2, 8, 1), some(2, 6)).shape == (2, 8, 1)
    sequence = SequenceFusion(config)
    x = some(2, 6, 5)
    assert torch.equal(sequence(x, some(2, 8, 1)), x)  # starts as the identity
    torch.nn.init.normal_(sequence.modulate.weight)
    assert not torch.equal(sequence(x, some(2, 8, 1)), x)


@torch.no_grad()
def test_hifigan_length_range_sites_and_fusing() -> None:
    torch.manual_seed(0)
    decoder = HifiganDecoder(DECODER).eval()
    z, speaker = some(2, 6, 5), some(2, 8, 1)
    with record(decoder, "stages.*") as seen:
        wave = decoder(z, speaker)
    assert wave.shape == (2, 1, 5 * decoder.hop) and wave.abs().max() <= 1
    assert [tuple(seen[f"stages.{i}"][0].shape[1:]) for i in (0, 1)] == [(8, 20), (4, 40)]
    fuse_weight_norm(decoder)
    assert torch.allclose(decoder(z, speaker), wave, atol=1e-6)
    vocoder = HifiganDecoder(DECODER.model_copy(update={"speaker_width": 0, "final_bias": True}))
    assert vocoder(z).shape == wave.shape


def test_discriminators_judge_and_pass_gradients() -> None:
    wave = (some(2, 1, 2048) * 0.1).requires_grad_()
    small = SpectralDiscriminatorConfig(resolutions=((64, 16), (128, 32)), channels=4, layers=2)
    for judges, count in (
        (WaveDiscriminators(WaveDiscriminatorConfig(periods=(2, 3), width=64)), 3),
        (SpectralDiscriminators(small), 2),
        (SpectralDiscriminators(small.model_copy(update={"periods": (2, 3), "width": 32})), 5),
    ):
        judgements = judges(wave)
        assert len(judgements) == count
        assert all(j.logits.shape[0] == 2 and j.logits.dim() == 2 for j in judgements)
        wave.grad = None
        sum(j.logits.mean() for j in judgements).backward()
        assert torch.isfinite(wave.grad).all() and wave.grad.abs().sum() > 0
        assert judges(torch.zeros(1, 1, 2048))[0].features
