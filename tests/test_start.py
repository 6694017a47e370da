"""The prior's closed-form start finds a planted linear rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import TINY
from voxray.config import MelPosteriorConfig
from voxray.models.generator import Generator
from voxray.train import start


class Drawn:
    """Stands for a store: random tokens and references; nothing else is read."""

    def aligned(self, size: object, rng: np.random.Generator) -> list[torch.Tensor]:
        dice = torch.Generator().manual_seed(int(rng.integers(1 << 30)))
        tokens = torch.randint(0, 16, (6, 20), generator=dice)
        reference = torch.randn(6, 16_000, generator=dice) * torch.rand(6, 1, generator=dice)
        return [torch.zeros(6, 40 * 480), tokens, tokens, tokens, reference, torch.zeros(6, 80)]


def test_the_linear_path_finds_what_codes_and_speaker_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    prior = TINY.generator.prior.model_copy(update={"direct": 3})
    config = TINY.generator.model_copy(
        update={"prior": prior, "codebook_size": 16, "posterior": MelPosteriorConfig(width=8, layers=1)}
    )  # fmt: skip
    model = Generator(config)
    model.codebook.normal_()
    rule = torch.randn(prior.latent_channels, 3 * prior.input_channels)
    data = Drawn()

    def planted(
        model: Generator, data: Drawn, size: object, number: int, spoil: float
    ) -> tuple[torch.Tensor, ...]:
        batch = data.aligned(size, np.random.default_rng(number))
        around = model.prior.direct.around(model.features(batch[1]))  # type: ignore[union-attr]
        speaker = model.speaker_vector(batch[4])[..., None].expand(-1, -1, 40)
        inputs = torch.cat([around, speaker, torch.ones(6, 1, 40)], dim=1)
        z = rule @ around + 2.0 * speaker[:, :1]
        return inputs.transpose(1, 2).flatten(0, 1), z.transpose(1, 2).flatten(0, 1)

    monkeypatch.setattr(start, "_frames", planted)
    assert start.start_prior(model, data, None, 12) < 0.05  # type: ignore[arg-type]
    made = planted(model, data, None, 99, 0.0)
    direct = model.prior.direct
    assert direct is not None
    inputs, z = made
    wide = direct.codes.in_features
    mine = inputs[:, :wide] @ direct.codes.weight.t() + direct.codes.bias
    mine = mine + inputs[:, wide:-1] @ direct.speaker.weight.t()
    assert (mine - z).var() < 0.05 * z.var()
