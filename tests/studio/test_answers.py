"""Answers as the page shows them, on planted truth: the sentence, its figures, both languages."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants

from voxray.explain.why import Why, why
from voxray.studio.answers import answer, faithful, sentence, title
from voxray.studio.strings import Words


@pytest.fixture(scope="module")
def planted() -> Why:
    case = plants.chain(0)
    return why(case.speech, word=case.event_word, what="pitch", draws=3)


def test_the_sentence_and_how_far_to_trust_it(planted: Why) -> None:
    best = planted.best
    assert best is not None
    shown = answer(planted, Words("en"))
    assert f"{best.share:.0%}" in faithful(planted, Words("en"))
    assert "class=best" in shown and "draws" in shown and "rises by" in shown


def test_the_same_in_chinese(planted: Why) -> None:
    words = Words("zh")
    assert planted.best is not None
    said = sentence(planted, words)
    assert "上升" in said and f"{planted.best.share:.0%}" in said
    assert "词" in title(planted.best, words) and "半音" in answer(planted, words)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_cause_is_named_where_none_stands_out(planted: Why, language: str) -> None:
    dull = tuple(replace(cause, share=0.1) for cause in planted.causes)
    made, words = replace(planted, causes=dull), Words(language)
    assert made.best is None
    assert "10%" in faithful(made, words) and "class=best" not in answer(made, words)
    assert answer(replace(planted, causes=()), words)


def test_every_kind_has_a_name(planted: Why) -> None:
    for language in ("en", "zh"):
        for cause in planted.causes:
            assert title(cause, Words(language))
