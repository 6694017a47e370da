"""Why: right answers on planted truth, honest ones elsewhere, errors that say what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants

from voxray.commands import main
from voxray.explain.why import Claim, Why, why


@pytest.fixture(scope="module")
def answer() -> Why:
    case = plants.chain(0)
    return why(case.speech, word=case.event_word, what="pitch", draws=3)


def test_the_planted_chain_is_told_in_one_sentence(answer: Why) -> None:
    assert answer.event.name == "rise"
    assert answer.best is not None
    assert answer.best.kind == "word"
    assert "rises by" in answer.sentence
    assert "semitones [" in answer.sentence
    assert "through the tokens" in answer.sentence
    assert "correlational" not in answer.sentence


def test_the_top_cause_takes_half_of_it_away_and_others_do_not(answer: Why) -> None:
    assert answer.best is not None
    assert answer.best.share >= 0.5
    assert answer.best.control <= 0.1


def test_it_works_through_the_gpt(answer: Why) -> None:
    assert answer.mediation is not None
    assert answer.mediation.gap <= 0.02
    assert answer.mediation.shares()["gpt"] >= 0.9


def test_every_number_is_saved(answer: Why, tmp_path: Path) -> None:
    answer.save(tmp_path / "why.json")
    data = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert data["answer"] == answer.sentence
    assert len(data["causes"]) == len(answer.causes)
    assert data["edits"][0]["site"].startswith("gpt.blocks.")


def test_a_claim_without_interventions_says_so() -> None:
    assert str(Claim("it is so.")) == "correlational: it is so."


def test_questions_that_cannot_be_answered(tmp_path: Path) -> None:
    case = plants.chain(0)
    for arguments, said in (
        ({"word": 0, "what": "pitch"}, "nothing stands out"),
        ({"word": "Rumpelstilzchen"}, "not in the text"),
        ({"at": 99.0}, "outside the clip"),
        ({}, "either a time, or a word"),
        ({"word": 4, "draws": 1}, "3 draws"),
        ({"word": 4, "what": "colour"}, "pitch, loudness, pause"),
    ):
        with pytest.raises(ValueError, match=said):
            why(case.speech, **arguments)  # type: ignore[arg-type]


def test_the_command_line_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.json"
    for text, arguments, said in (
        ("{", ["--at", "1s"], "not JSON"),
        ("{}", ["--at", "1s"], "lacks text"),
        ('{"text": "a", "voice": "b", "seed": 1}', [], "say where"),
        ('{"text": "a", "voice": "b", "seed": 1}', ["--at", "soon"], "no time"),
    ):
        clip.write_text(text, encoding="utf-8")
        assert main(["why", str(clip), *arguments]) == 2
        assert said in capsys.readouterr().err
