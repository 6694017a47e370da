"""The sampler: its rules one by one, its order, and its dice."""

from __future__ import annotations

import pytest
import torch

from voxray.sampling import (
    MAX_SEED,
    Noise,
    SamplingOptions,
    check_seed,
    choose,
    derive,
    filtered,
    keep_best,
    normal_noise,
    nucleus,
    penalise,
)

NOBODY = torch.zeros(0, dtype=torch.long)
PLAIN = SamplingOptions(top_k=100, top_p=1.0, temperature=1.0, repetition_penalty=1.0)


def survivors(logits: torch.Tensor) -> list[int]:
    return torch.isfinite(logits).nonzero().flatten().tolist()


def test_the_same_seed_rolls_the_same_dice() -> None:
    first, again = Noise.draw(7, 20, 30), Noise.draw(7, 20, 30)
    assert torch.equal(first.gumbel, again.gumbel)
    assert not torch.equal(first.gumbel, Noise.draw(8, 20, 30).gumbel)


def test_a_longer_draw_begins_like_a_shorter_one() -> None:
    assert torch.equal(Noise.draw(3, 500, 41).gumbel[:123], Noise.draw(3, 123, 41).gumbel)
    long, short = normal_noise(3, 12, 400), normal_noise(3, 12, 77)
    assert torch.equal(long[:, :, :77], short)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Noise.draw(1, 5, 5)
    normal_noise(1, 5, 5)
    assert torch.equal(before, torch.get_rng_state())


def test_gumbel_max_samples_from_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    dice = Noise.draw(0, 8000, 4)
    drawn = (filtered(logits, PLAIN) + dice.gumbel).argmax(dim=1)
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert torch.allclose(shares, torch.softmax(logits, 0), atol=0.02)


def test_penalty_divides_positive_and_multiplies_negative_logits_once() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0])
    out = penalise(logits, torch.tensor([0, 1]), 2.0)
    assert out.tolist() == [1.0, -4.0, 1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0], "the model's logits are not written to"


def test_nucleus_drops_the_token_that_crosses_the_threshold_but_never_the_best() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    assert survivors(nucleus(logits, 0.6)) == [0]
    assert survivors(nucleus(logits, 0.85)) == [0, 1]
    assert survivors(nucleus(logits, 0.1)) == [0]


def test_top_k_keeps_ties() -> None:
    assert survivors(keep_best(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2)) == [1, 2, 3]


def test_nucleus_comes_before_temperature() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    hot = SamplingOptions(top_p=0.85, temperature=10.0, top_k=100, repetition_penalty=1.0)
    assert survivors(filtered(logits, hot)) == [0, 1]  # after temperature, all three would stay


def test_zero_temperature_is_the_likeliest_token() -> None:
    cold = SamplingOptions(temperature=0.0)
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    for row in Noise.draw(5, 20, 50).gumbel:
        assert choose(logits, row, NOBODY, cold, 49).token in (int(logits.argmax()), 49)


def test_the_end_is_drawn_or_likeliest_or_forbidden() -> None:
    logits = torch.tensor([5.0, 4.9, 5.1])  # the end token, 2, is likeliest
    against = torch.tensor([9.0, 0.0, 0.0])
    assert choose(logits, against, NOBODY, PLAIN, 2).ended
    assert choose(logits, against, NOBODY, PLAIN, 2, may_end=False).token == 0
    assert choose(torch.tensor([5.0, 1.0, 4.0]), torch.tensor([0.0, 0, 9]), NOBODY, PLAIN, 2).ended


def test_seeds() -> None:
    assert derive(1, 0, "tokens") != derive(1, 0, "prior") != derive(2, 0, "prior")
    assert derive(MAX_SEED, "x") <= MAX_SEED
    for wrong in (-1, MAX_SEED + 1, "1", 1.0, True, None):
        with pytest.raises(ValueError, match="seed"):
            check_seed(wrong)
