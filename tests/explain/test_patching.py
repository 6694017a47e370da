"""Shared dice: an unchanged run says the same again, and a change acts where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from voxray.bundle import Bundle
from voxray.config import BundleConfig
from voxray.explain import candidates, mediation, replay
from voxray.explain.patching import CLEAN, Change, Rollout, curves, rollouts
from voxray.explain.replay import Spoken
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.sites import sites
from voxray.text import TextPipeline
from voxray.voice import Voice


@pytest.fixture(scope="module")
def speech(tiny: Bundle) -> Spoken:
    pipeline = Pipeline(tiny, TextPipeline())
    voice = Voice("nobody", torch.randn(256, generator=torch.Generator().manual_seed(1)))
    options = SynthesisOptions(seed=4, max_tokens=40).suited(BundleConfig())
    made = pipeline.synthesise("Hello there, my dear friend.", voice, options)
    return replay.spoken(pipeline, voice, options, made)


def test_an_unchanged_run_rolls_the_same_tokens_and_phonemes(speech: Spoken) -> None:
    passage = speech.passages[0]
    made = rollouts(speech, passage, [CLEAN, CLEAN], 10, 24, draws=2)
    assert not speech.synthesis.warnings or "drawn again" not in str(speech.synthesis.warnings)
    for runs in made:
        assert runs[0].tokens == passage.tokens[:24]
        assert runs[0].path == passage.path[:24]
    assert made[0][1] == made[1][1]
    assert made[0][1].tokens[:10] == passage.tokens[:10]
    assert made[0][1].tokens != made[0][0].tokens


def test_changes_act_on_their_rows_alone(speech: Spoken) -> None:
    passage = speech.passages[0]
    loud = Change("head", "1.1", {"blocks.1.attn.z": lambda z, moment: z * -30.0})
    made = rollouts(speech, passage, [CLEAN, loud, CLEAN], 10, 24, draws=1)
    assert made[0][0] == made[2][0]
    assert made[1][0].tokens != made[0][0].tokens
    assert not any(site.live for site in sites(speech.models.gpt).values())


def test_curves_of_the_same_tokens_are_the_speech(speech: Spoken) -> None:
    """Pitch per token, batched and stopped early, is that of the whole run."""
    passage = speech.passages[0]
    run = Rollout(passage.tokens, passage.path)
    short = curves(speech, passage, [run, run], CLEAN, loud=False)
    whole = curves(speech, passage, [run], CLEAN, loud=True)[0]
    assert np.allclose(short[0].octaves, whole.octaves, equal_nan=True, atol=1e-4)
    assert np.allclose(short[0].octaves, short[1].octaves, equal_nan=True, atol=1e-5)
    assert whole.level.shape == (len(passage.tokens),)


def test_every_candidate_can_be_tried(speech: Spoken) -> None:
    passage = speech.passages[0]
    changes = list(candidates.in_the_gpt(speech, passage, 10))
    kinds = {change.kind for change in changes}
    assert kinds == {"word", "mark", "head", "layer"}
    assert len([c for c in changes if c.kind == "head"]) == 4
    made = rollouts(speech, passage, changes, 10, 14, draws=1)
    assert all(len(runs[0].tokens) == 14 for runs in made)
    run = Rollout(passage.tokens, passage.path)
    for change in candidates.in_the_generator(speech, passage, 10, passage.tokens[10:12]):
        assert len(curves(speech, passage, [run], change, loud=False)) == 1
    assert not any(site.live for site in sites(speech.models.generator).values())


def test_the_mean_shift_of_an_idle_coupling_changes_nothing(speech: Spoken) -> None:
    """Couplings start as the identity: their shift is zero, its mean as well."""
    generator: Any = speech.models.generator
    edit = candidates.mean_shift(generator, 0, speech.voice.speaker, 0)
    x = torch.randn(1, 96, 8)
    with torch.no_grad():
        assert torch.allclose(edit(x), x, atol=1e-6)


def test_mediation_adds_up() -> None:
    parts = mediation.mediate([5, 6, 7], [3, 4, 5], [4, 5, 6], [1, 2, 3])
    assert (parts.total, parts.gpt, parts.generator, parts.interaction) == (4, 2, 1, 1)
    assert parts.gap == pytest.approx(0.0)
    with pytest.raises(ValueError, match="no draw"):
        mediation.mediate([np.nan], [1], [1], [1])
