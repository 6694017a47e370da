"""The page about tokens: figures with their floors, maps with their trust, one token said alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_tokens import planted
from tests_explain import nobody

from voxray.bundle import Bundle
from voxray.explain import token_page


def test_views_of_the_same_tokens() -> None:
    views = token_page.colours_of(planted())
    assert set(views) == set(token_page.COLOURS)
    assert {"aspirated", "not", "vowel", "silence"} <= set(views["aspiration"])
    assert {"tone 1", "none"} == set(views["tone"])


def test_one_token_alone_is_said(tiny: Bundle) -> None:
    made = token_page.say_token(tiny, 77, nobody())
    assert set(made.tokens.tolist()) == {77} and len(made.tokens) == token_page.HELD_TOKENS
    assert made.record  # it went through the gate
    with pytest.raises(ValueError, match="not one of"):
        token_page.say_token(tiny, 5000, nobody())


def test_figures_stand_beside_their_floors() -> None:
    made = token_page.measured(planted())
    value, low, simple = made["PNMI"]
    assert value.value == pytest.approx(1) and low < 0.2 and simple < 0.8


def test_a_scatter_names_its_points() -> None:
    text = token_page.scatter_svg(np.eye(2), ["a", "<b>"], ["one", "two"], "title")
    assert text.count("<circle") == 2 and "&lt;b&gt;" in text and "<b>" not in text


@pytest.mark.slow
def test_the_page_stands_alone(tiny: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    corpus = planted()
    views = token_page.colours_of(corpus)
    report = token_page.TokenReport(
        "planted", corpus, token_page.measured(corpus),
        token_page._maps(corpus, views, "tsne", 0), None,
        [(0, token_page.say_token(tiny, 0, nobody()))],
    )  # fmt: skip
    report.save(tmp_path / "t.html")
    text = (tmp_path / "t.html").read_text("utf-8")
    assert text.count("<svg") == len(token_page.COLOURS) and "without labels" in text
    assert "{{" not in text and "http" not in text and "trustworthiness 0." in text
    report.save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["figures"]["PNMI"]["shuffled"] < 0.2
