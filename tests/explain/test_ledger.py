"""Shares sum to one, a deaf part gets nothing, a planted coupling is found; the flow's terms sum to it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests_explain import nobody, opened

from voxray.bundle import Bundle
from voxray.explain import ledger, stages
from voxray.explain.ledger import Member


@pytest.fixture(scope="module")
def crooked(tiny: Bundle) -> Bundle:
    """The tiny system with a flow that does something."""
    twin = copy.copy(tiny)
    twin.generator = copy.deepcopy(tiny.generator)
    with torch.no_grad():
        for number, coupling in enumerate(twin.generator.flow.couplings):
            dice = torch.Generator().manual_seed(number)
            coupling.after.weight.normal_(0, 0.3, generator=dice)
    return twin


def members(models: Bundle, count: int = 3) -> list[Member]:
    dice = np.random.default_rng(0)
    return [
        Member(f"m{i}", nobody(i).speaker, tuple(dice.integers(0, 1024, 12).tolist()))
        for i in range(count)
    ]


def test_shapley_is_fair() -> None:
    parts = ("a", "b", "c")
    values = {s: 2.0 * ("a" in s) + 1.0 * ({"a", "b"} <= s) for s in ledger.subsets(parts)}
    shares = ledger.shapley(values, parts)
    assert shares == pytest.approx({"a": 2.5, "b": 0.5, "c": 0.0})


def test_shares_sum_to_one_and_the_deaf_decoder_is_left_out(crooked: Bundle) -> None:
    made = ledger.ledger(opened(crooked).spoken, members(crooked), listen=spectrum)
    assert set(made.shares) == {"tokens", "prior", "flow"}  # the tiny decoder hears no speaker
    assert made.total == pytest.approx(1, abs=1e-6)
    assert made.pairs + made.skipped == 6 and "exchanged" in made.claim


def spectrum(wave: np.ndarray, rate: int) -> np.ndarray:
    """A judge of its own: the mean log spectrum."""
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512)
    level = np.log(np.abs(np.fft.rfft(frames)) + 1e-3).mean(0)
    return level - level.mean()


def test_a_flow_that_does_nothing_carries_nothing(tiny: Bundle) -> None:
    """The tiny system's flow is the identity, as fresh flows are."""
    made = ledger.ledger(opened(tiny).spoken, members(tiny), listen=spectrum)
    assert abs(made.shares["flow"].value) < 1e-6


def test_the_flows_terms_sum_to_the_latents(crooked: Bundle) -> None:
    made = opened(crooked)
    part = made.passages[0].passage
    codes = stages.codes_of(crooked.generator, torch.tensor([part.tokens]))
    speaker = made.spoken.voice.speaker[None]
    with torch.no_grad():
        terms = ledger._written(made.spoken, part, codes, speaker, 2)
        whole = stages.latents(made.spoken, part, codes, stages.Cast.one(speaker))
    np.testing.assert_allclose(sum(terms), whole, atol=1e-4)
    assert all(float(term.abs().max()) > 1e-3 for term in terms)


def test_conductance_sums_to_the_change(crooked: Bundle) -> None:
    made = opened(crooked)
    part = made.passages[0].passage
    codes = stages.codes_of(crooked.generator, torch.tensor(part.tokens))
    ways = (codes.mean(0).expand_as(codes), codes)
    speaker = made.spoken.voice.speaker
    found = ledger.conductance(
        made.spoken, part, lambda z: z[:, 10:20].square().mean((1, 2)), ways, (0 * speaker, speaker)
    )
    assert set(found.parts) == {"prior", "coupling 0", "coupling 1"}
    assert found.completeness_error < 0.05


def test_too_few_speakers_are_refused(crooked: Bundle) -> None:
    with pytest.raises(ValueError, match="two speakers"):
        ledger.ledger(opened(crooked).spoken, members(crooked, 1))
    with pytest.raises(ValueError, match="too few to share"):
        ledger.ledger(opened(crooked).spoken, [members(crooked)[0]] * 3, listen=spectrum)
