"""Answers as the page shows them, on planted truth: the sentence, its figures, both languages."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from string import Formatter

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants

from voxray.explain.figures import escape
from voxray.explain.why import Why, why
from voxray.studio.answers import answer, faithful, finding, sentence, title
from voxray.studio.strings import Words
from voxray.trust.findings import MISSING, SAID, Line
from voxray.trust.verify import Finding


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


def lines() -> dict[str, Line]:
    """Every sentence that a verification can say, with a figure in every place."""
    names = {
        code: [n for _, n, _, _ in Formatter().parse(said) if n] for code, said in SAID.items()
    }
    return {code: Line.of(code, **{n: f"<{n}>" for n in some}) for code, some in names.items()}


def test_what_a_file_shows_is_told_in_the_page_s_language() -> None:
    all_of_them = tuple(lines().values())
    found = Finding("x.wav", 1.0, None, None, (), likely=all_of_them)
    english, chinese = finding(found, Words("en")), finding(found, Words("zh"))
    for code, line in lines().items():
        assert escape(line) in english and escape(line) not in chinese, code
    assert "没有内容凭证" in chinese and "&lt;caller&gt;" in chinese  # with its figures, escaped
    words = set(re.findall(r"[a-z]{3,}", re.sub(r"<[^>]*>|&[^;]*;", " ", chinese.lower())))
    assert words <= {"content", "credentials", "perth", "voxray", *_figures()}, (
        "the rest is Chinese"
    )


def test_what_is_not_there_has_a_word_in_both_languages() -> None:
    empty = Line.of("record-owner", id="r-1", voice="'a'", when="now", consent="")
    nobody = Line.of("credentials-others", signer="", title="")
    assert "consent none" in empty and MISSING["signer"] in nobody and MISSING["title"] in nobody
    found = Finding("x.wav", 1.0, None, None, (), likely=(empty, nobody))
    shown = finding(found, Words("zh"))
    assert "同意 无" in shown and "未知签名者" in shown and "none" not in shown


def _figures() -> set[str]:
    return {name for line in lines().values() for name in line.values}


def test_every_kind_has_a_name(planted: Why) -> None:
    for language in ("en", "zh"):
        for cause in planted.causes:
            assert title(cause, Words(language))
