"""The `article` preset's parts: the search is exact, latents are aligned, the model learns and speaks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from voxray.config import (
    ArticleConfig,
    ArticlePosteriorConfig,
    FlowConfig,
    IstftDecoderConfig,
    SpeakerConfig,
)
from voxray.models.article import Article, duration_loss, log_likelihood
from voxray.models.monotonic import best_path, search
from voxray.sites import record, sites

TINY = ArticleConfig(
    text_hidden=24, text_width=16, speaker=SpeakerConfig(hidden=16, speaker_width=16),
    posterior=ArticlePosteriorConfig(conv_width=16, gru_width=16, latent_channels=12, codebook_size=8),
    flow=FlowConfig(channels=16, hidden=16, layers=1, couplings=2, speaker_width=16),
    decoder=IstftDecoderConfig(latent_channels=16, width=16, layers=1), duration_hidden=8,
)  # fmt: skip


@pytest.fixture
def article() -> Article:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Article(TINY)


def test_the_search_finds_what_trying_all_paths_finds() -> None:
    dice = np.random.default_rng(0)
    for phones, frames in ((3, 6), (4, 4), (1, 5), (5, 8)):
        scores = dice.standard_normal((phones, frames))
        paths = [
            np.array(path)
            for path in itertools.product(range(phones), repeat=frames)
            if path[0] == 0 and path[-1] == phones - 1
            and all(step in (0, 1) for step in np.diff(path))
        ]  # fmt: skip
        best = max(paths, key=lambda path: scores[path, np.arange(frames)].sum())
        assert np.array_equal(best_path(scores), best)


def test_padding_stays_out_of_an_alignment_and_too_few_frames_are_refused() -> None:
    found = search(torch.randn(2, 4, 7), torch.tensor([4, 2]), torch.tensor([7, 5]))
    assert found.sum((1, 2)).tolist() == [7.0, 5.0]
    assert found[1, 2:].sum() == found[1, :, 5:].sum() == 0
    with pytest.raises(ValueError, match="3 frames cannot say 4"):
        search(torch.randn(1, 4, 3), torch.tensor([4]), torch.tensor([3]))


def test_the_likelihood_is_the_gaussian_density() -> None:
    z, mean, log_std = torch.randn(1, 5, 3), torch.randn(1, 5, 2), torch.randn(1, 5, 2) * 0.3
    density = torch.distributions.Normal(mean[..., None], log_std.exp()[..., None])
    wanted = density.log_prob(z[:, :, None]).sum(1)
    assert torch.allclose(log_likelihood(z, mean, log_std), wanted, atol=1e-4)


def given(seed: int = 0) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {
        "hidden": torch.randn(2, 5, 24, generator=dice),
        "text_lengths": torch.tensor([5, 3]),
        "wave": torch.randn(2, 480 * 20, generator=dice) * 0.1,
        "f0": torch.full((2, 40), 140.0),
        "lengths": torch.tensor([20, 14]),
        "reference": torch.randn(2, 16_000, generator=dice) * 0.1,
    }


def test_a_training_pass_aligns_text_and_latents_and_reaches_every_part(article: Article) -> None:
    with record(article, ["alignment", "text", "posterior.units"]) as seen:
        out = article(**given(), dice=torch.Generator().manual_seed(1))
    assert out.audio.shape == (2, 9600)
    assert out.placed.shape == out.prior_mean.shape == (2, 16, 20)
    assert seen["alignment"][0].sum(2).tolist()[1][3:] == [0.0, 0.0]
    assert out.codes.shape == (2, 20)
    loss = out.audio.square().mean() + duration_loss(out) + out.commitment
    loss = loss + (out.placed - out.prior_mean).square().mean() + out.prior_log_std.mean()
    loss.backward()
    untouched = {n.split(".")[0] for n, p in article.named_parameters() if p.grad is None}
    assert untouched == set()
    assert {"fusion.out", "alignment", "durations", "flow.couplings.0.out"} <= set(sites(article))


def test_speech_is_as_long_as_its_durations_and_the_same_for_a_seed(article: Article) -> None:
    hidden, speaker = torch.randn(1, 6, 24), torch.randn(1, 16)
    article.eval()
    audio, z, frames = article.decode(hidden, speaker, torch.Generator().manual_seed(4))
    assert audio.shape[1] == 480 * int(frames.sum()) == 480 * z.shape[2]
    again, _, _ = article.decode(hidden, speaker, torch.Generator().manual_seed(4))
    assert torch.equal(audio, again)
    _, _, quick = article.decode(hidden, speaker, torch.Generator().manual_seed(4), speed=0.25)
    assert quick.sum() > frames.sum()
