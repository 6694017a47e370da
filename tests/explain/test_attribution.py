"""Integrated gradients are complete and captum's; a planted cause is found; soft decoding tells its gap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests_explain import loud, opened

from voxray.bundle import Bundle
from voxray.explain import attribution, faithfulness, lens, properties, replay, stages
from voxray.explain.attribution import integrated_gradients
from voxray.explain.properties import Span


@pytest.fixture(scope="module")
def heard(tiny: Bundle) -> Bundle:
    return loud(tiny)


def bent(groups: list[torch.Tensor]) -> torch.Tensor:
    """A smooth, crooked function of two groups [n, 4] and [n, 3]."""
    one, two = groups
    return (one.sin() * one).sum(1) * two.square().sum(1) + two[:, 0].exp()


def test_completeness_and_the_error_that_is_returned() -> None:
    dice = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, generator=dice), torch.randn(3, generator=dice)]
    made = integrated_gradients(bent, inputs, [torch.zeros(4), torch.zeros(3)], steps=32)
    total = float(sum(part.sum() for part in made.attributions))
    assert total == pytest.approx(made.value - made.baseline_value, rel=1e-4)


@pytest.mark.slow
def test_the_same_as_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    two = torch.tensor([0.3, -1.0, 2.0])
    ours = integrated_gradients(
        lambda g: bent([g[0], two.expand(len(g[0]), -1)]), [x[0]], [0 * x[0]]
    )
    theirs = captum.IntegratedGradients(lambda z: bent([z, two.expand(len(z), -1)]))
    expected = theirs.attribute(x, n_steps=attribution.STEPS, method="gausslegendre")
    np.testing.assert_allclose(ours.attributions[0], expected[0].detach(), rtol=1e-3, atol=1e-5)


def test_phonemes_to_tokens_is_complete(heard: Bundle) -> None:
    made = opened(heard)
    part = made.passages[0].passage
    for baseline in attribution.BASELINES:
        scores = attribution.text_to_tokens(made.spoken, part, baseline=baseline, steps=16)
        assert len(scores.scores) == len(part.ids)
        assert not scores.skipped and scores.completeness_error < 0.01
        assert scores.to_json()["claim"] == "correlational"
    words = attribution.by_word(scores, part)
    assert sum(words.values()) == pytest.approx(float(scores.scores.sum()), rel=1e-5)
    with pytest.raises(ValueError, match="no baseline"):
        attribution.text_to_tokens(made.spoken, part, baseline="silence")


def test_a_phoneme_that_alone_matters_is_named(heard: Bundle) -> None:
    """Every other phoneme is the pause already: all of the difference is this one's."""
    from dataclasses import replace

    made = opened(heard)
    part = made.passages[0].passage
    pause = attribution.SYMBOL_TO_ID[attribution.PAUSE]
    alone = replace(part, ids=tuple(i if n == 2 else pause for n, i in enumerate(part.ids)))
    scores = attribution.text_to_tokens(made.spoken, alone, steps=16).scores
    assert np.argmax(np.abs(scores)) == 2
    assert np.abs(np.delete(scores, 2)).max() < 1e-6


def test_the_generator_taken_apart_is_the_generator(tiny: Bundle) -> None:
    made = opened(tiny)
    part = made.passages[0].passage
    with torch.no_grad():
        whole = replay.decode(made.spoken, part)
        codes = stages.codes_of(tiny.generator, torch.tensor([part.tokens]))
        cast = stages.Cast.one(made.spoken.voice.speaker[None])
        pieces = stages.speak(made.spoken, part, codes, cast)
        held = stages.speak(made.spoken, part, codes, cast, held_f0=whole.f0)
    assert torch.equal(whole.latents, pieces.latents)
    assert torch.equal(whole.audio, pieces.audio) and torch.equal(whole.audio, held.audio)


@pytest.mark.parametrize("name", ["energy", "speaker"])
def test_codes_and_speaker_to_sound_is_complete(tiny: Bundle, name: str) -> None:
    made = opened(tiny)
    part = made.passages[0].passage
    scores = attribution.generator_to_sound(made.spoken, part, name, steps=16)
    assert scores.units[-1] == "speaker" and len(scores.scores) == len(part.tokens) + 1
    assert scores.skipped or scores.completeness_error < 0.05


def test_soft_decoding_tells_its_gap(tiny: Bundle) -> None:
    made = opened(tiny)
    part = made.passages[0].passage
    scores = attribution.text_to_sound(made.spoken, part, "energy", steps=8)
    with torch.no_grad():
        logits = replay.read(made.spoken, part)
        codes = attribution.expected_codes(made.spoken, logits)
        reader = attribution.reader(made.spoken, part, "energy", Span())
        soft = float(reader(codes, made.spoken.voice.speaker[None]))
    assert scores.gap == pytest.approx(soft - reader.spoken_value, abs=1e-3)
    assert scores.gap != 0


def test_soft_pitch_hears_what_praat_hears() -> None:
    rate = 16_000
    time = torch.arange(rate) / rate
    for hertz in (110.0, 180.0, 300.0):
        wave = sum(torch.sin(2 * torch.pi * hertz * k * time) / k for k in range(1, 8))
        heard = properties.soft_pitch(wave[None], rate)[0, 5:-5].median()
        assert float(heard) == pytest.approx(12 * np.log2(hertz / 100), abs=0.5)


def test_spans_outside_the_sound_and_unknown_names_are_refused(tiny: Bundle) -> None:
    made = opened(tiny)
    part = made.passages[0].passage
    with pytest.raises(ValueError, match="outside the sound"):
        attribution.reader(made.spoken, part, "energy", Span(90.0, 91.0))
    with pytest.raises(ValueError, match="no property"):
        attribution.reader(made.spoken, part, "warmth", Span())


def test_deletion_counts_what_it_deletes(heard: Bundle) -> None:
    made = opened(heard)
    part = made.passages[0].passage
    truth = faithfulness.occlusion(made.spoken, part)
    cut = faithfulness.deletion(made.spoken, part, truth, draws=5)
    assert cut.count == max(1, round(0.2 * len(part.ids)))
    assert cut.curve[0] == pytest.approx(0, abs=1e-3)
    alone = faithfulness.dropped(made.spoken, part, [[0, 1], list(range(len(part.ids)))])
    assert cut.curve[-1] == pytest.approx(alone[1], abs=1e-2)
    with pytest.raises(ValueError, match="scores for"):
        faithfulness.deletion(made.spoken, part, truth[:3])


def test_shuffled_weights_change_the_explanation(heard: Bundle) -> None:
    made = opened(heard)
    part = made.passages[0].passage
    before = {k: v.clone() for k, v in heard.gpt.state_dict().items()}
    scores = attribution.text_to_tokens(made.spoken, part, steps=8).scores
    other = faithfulness.shuffled(made.spoken, 0)
    assert not np.allclose(scores, attribution.text_to_tokens(other, part, steps=8).scores)
    assert all(torch.equal(v, before[k]) for k, v in heard.gpt.state_dict().items())


def test_the_last_layers_lens_is_the_model(tiny: Bundle) -> None:
    made = opened(tiny)
    view = lens.lens(made)[0]
    part = made.passages[0]
    scores = torch.from_numpy(part.logits).log_softmax(-1)
    own = scores.gather(1, torch.tensor(part.passage.tokens)[:, None])[:, 0]
    np.testing.assert_allclose(view.log_prob[-1], own, atol=1e-4)
    assert ((view.rank[-1] == 0) == (scores.argmax(1).numpy() == part.passage.tokens)).all()
    assert (view.margin >= 0).all() and view.rank.shape == (2, len(part.passage.tokens))
    assert (view.settled[view.rank[-1] > 0] == 2).all()  # never the best
    assert len(view.hesitations(3)) == 3
