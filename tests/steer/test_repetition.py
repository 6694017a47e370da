"""Responsible heads: ranked by what happens without them; texts that do not loop are refused."""

from __future__ import annotations

import pytest

from voxray.bundle import Bundle
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.steer.repetition import Loops, responsible
from voxray.text import TextPipeline
from voxray.voice import Voice


def test_texts_that_do_not_loop_are_refused(tiny: Bundle, voice: Voice) -> None:
    pipeline = Pipeline(tiny, TextPipeline())
    options = SynthesisOptions(seed=3, max_tokens=20)
    with pytest.raises(ValueError, match="nothing to find"):
        responsible(pipeline, ["Hello."], voice, options)
    with pytest.raises(ValueError, match="give texts"):
        responsible(pipeline, [], voice, options)


def test_a_greedy_model_loops_and_every_head_is_tried(tiny: Bundle, voice: Voice) -> None:
    pipeline = Pipeline(tiny, TextPipeline())
    options = SynthesisOptions(
        seed=3, max_tokens=40, temperature=0.0, top_k=1, repetition_penalty=1.0
    )
    try:
        found = responsible(pipeline, ["Hello there, my dear friend."], voice, options)
    except ValueError as error:
        pytest.skip(f"random weights do not loop here: {error}")
    assert {head for head, _ in found.without} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    shares = [share for _, share in found.without]
    assert shares == sorted(shares)


def test_only_heads_that_help_are_turned_down() -> None:
    found = Loops(0.5, (((1, 0), 0.1), ((0, 0), 0.5), ((0, 1), 0.7)))
    assert found.edit(3).heads == ((1, 0),)
    with pytest.raises(ValueError, match="no head"):
        Loops(0.5, (((0, 0), 0.5),)).edit()
