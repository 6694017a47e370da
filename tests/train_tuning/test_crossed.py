"""One speaker's words in another's voice: which parts of a batch are whose, and where the gradient goes."""

from __future__ import annotations

import copy
from typing import Any

import torch

from voxray.bundle import Bundle
from voxray.models.posterior_mel import PITCH_LATENTS
from voxray.train import crossed as crossing
from voxray.train.crossed import crossed, crossed_losses


def test_words_are_of_one_batch_and_the_voice_of_the_other() -> None:
    mine, theirs = ([torch.full((2,), 100 * k + n) for n in range(13)] for k in (0, 1))
    made = [int(x[0]) for x in crossed(mine, theirs)]
    assert made == [0, 1, 2, 3, 104, 5, 6, 7, 108, 9, 110, 111, 112]
    assert len(crossed(mine[:10], theirs[:10])) == 10


def test_the_pitch_that_is_decoded_is_known_before(tiny: Bundle) -> None:
    decoder: Any = tiny.generator.decoder
    z = torch.randn(2, tiny.generator.config.prior.latent_channels, 12)
    said = decoder(z, None, torch.zeros(2, 480 * 12))
    assert torch.equal(decoder.sung(z), said.f0)
    assert torch.allclose(
        decoder(z, None, torch.zeros(2, 480 * 12), decoder.sung(z)).audio, said.audio, atol=1e-6
    )


def test_everything_but_the_pitch_learns(tiny: Bundle, monkeypatch: Any) -> None:
    model: Any = copy.deepcopy(tiny.generator)
    seen: list[torch.Tensor] = []
    real = model.flow.inverse

    def watched(*given: Any) -> torch.Tensor:
        seen.append(real(*given))
        seen[-1].retain_grad()
        return seen[-1]

    monkeypatch.setattr(model.flow, "inverse", watched)
    monkeypatch.setattr(crossing, "likeness_loss", lambda teacher, made, target: made.abs().mean())
    monkeypatch.setattr(crossing, "words_loss", lambda listener, made, wave: made.square().mean())
    rate, count = 960, 20
    batch = [
        torch.randn(2, rate * count), torch.randint(0, 8, (2, count)), torch.randint(1, 9, (2, 5)),
        torch.tensor([5, 4]), torch.randn(2, 32_000), torch.full((2, 4 * count), 100.0), torch.ones(2),
        torch.zeros(2, 2 * count, dtype=torch.long), torch.zeros(2, 0), torch.zeros(2, count, dtype=torch.long),
    ]  # fmt: skip
    nobody: Any = None
    losses = crossed_losses(model, batch, torch.Generator().manual_seed(1), nobody, nobody)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    grad = seen[0].grad
    assert grad is not None and torch.isfinite(grad).all()
    assert not grad[:, :PITCH_LATENTS].any() and grad[:, PITCH_LATENTS:].any()
