"""What explains and steers mini works through the same sites on a model of the published form (small v2)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_round_trip import GPT, QUANTISER, V2

from voxray import steer, tts
from voxray.bundle import FamilyBundle
from voxray.config import BundleConfig
from voxray.explain import Trace, attribution, heads, trace
from voxray.explain.alignment import align
from voxray.explain.tracing import trace_of
from voxray.explain.why import events_of, why
from voxray.sites import sites
from voxray.voice import Voice

pytestmark = pytest.mark.slow
TEXT = "Hello there, my friend."
OPTIONS = {"seed": 3, "max_tokens": 40, "style": False}


@pytest.fixture(scope="module")
def family() -> FamilyBundle:
    config = BundleConfig(name="family", version="v2", gpt=GPT, content=QUANTISER, generator=V2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = FamilyBundle.build(config)
        models.generator.codebook.normal_()
        with torch.no_grad():  # a GPT whose text and past matter
            for block in models.gpt.blocks:
                block.attn.qkv.weight.mul_(10)
                block.attn.out.weight.mul_(10)
    models.ready("float32")
    return models


@pytest.fixture(scope="module")
def speaker() -> Voice:
    return Voice("nobody", torch.randn(512, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def opened(family: FamilyBundle, speaker: Voice) -> Trace:
    return trace(TEXT, speaker, model=family, **OPTIONS)


def test_attention_and_heads(opened: Trace) -> None:
    part = opened.passages[0]
    layers, count, tokens, phonemes = part.attention.shape
    assert (layers, count) == (2, 2)
    assert (tokens, phonemes) == (len(part.passage.tokens), len(part.passage.ids))
    assert part.prior_attention.shape[1:] == (tokens, phonemes)
    table = heads.describe(opened, ablate=True)
    assert table.effect is not None and np.isfinite(table.effect).all()
    found = align(opened)
    assert [word.text for word in found.words] == [w.text for w in opened.synthesis.words]


def test_attribution_is_complete(opened: Trace) -> None:
    passage = opened.passages[0].passage
    scores = attribution.text_to_tokens(opened.spoken, passage, steps=64)
    assert len(scores.scores) == len(passage.ids)
    assert scores.skipped or scores.completeness_error < 0.05


def test_why_answers_or_says_that_nothing_stands_out(opened: Trace) -> None:
    speech, passage = opened.spoken, opened.passages[0].passage
    events = events_of(speech, passage)
    if not events:
        with pytest.raises(ValueError, match="nothing stands out"):
            why(speech, word=0, what="loudness", draws=3)
        return
    answer = why(speech, word=events[0].word, what=events[0].measure.kind, draws=3)
    assert {"word", "head", "layer", "coupling", "speaker"} <= {c.kind for c in answer.causes}
    assert answer.sentence


def test_a_head_edit_acts_and_leaves_nothing_behind(
    family: FamilyBundle, speaker: Voice, opened: Trace
) -> None:
    edit = steer.HeadGain(site="gpt.blocks.1.attn.z", head=1, gain=0.0)
    edited = tts(TEXT, speaker, model=family, edits=edit, **OPTIONS)
    again = tts(TEXT, speaker, model=family, **OPTIONS)
    assert not np.array_equal(edited.tokens, again.tokens)
    assert np.array_equal(again.tokens, opened.synthesis.tokens)
    assert not any(site.live for site in sites(family.gpt).values())
    assert trace_of(opened.spoken).passages[0].attention.shape == opened.passages[0].attention.shape
