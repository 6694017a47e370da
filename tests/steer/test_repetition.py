"""Responsible heads: ranked by what happens without them; texts that do not loop are refused."""

from __future__ import annotations

import pytest

from voxray.bundle import Bundle
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.steer import repetition
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


def test_every_head_is_tried_and_the_best_comes_first(
    tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(pipeline: Pipeline, texts: object, voice: Voice, options: SynthesisOptions) -> float:
        assert options.watch is None
        return 0.1 if options.edits and options.edits.heads == ((1, 0),) else 0.5

    monkeypatch.setattr(repetition, "loops", fake)
    pipeline = Pipeline(tiny, TextPipeline())
    found = responsible(pipeline, ["Hello."], voice, SynthesisOptions(seed=3))
    assert {head for head, _ in found.without} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert found.without[0] == ((1, 0), 0.1)
    assert found.edit().heads == ((1, 0),)


def test_only_heads_that_help_are_turned_down() -> None:
    found = Loops(0.5, (((1, 0), 0.1), ((0, 0), 0.5), ((0, 1), 0.7)))
    assert found.edit(3).heads == ((1, 0),)
    with pytest.raises(ValueError, match="no head"):
        Loops(0.5, (((0, 0), 0.5),)).edit()
