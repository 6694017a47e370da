"""Scripts: turns, cast, one take of many."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.serve.errors import Problem
from voxray.studio.actions import Studio, finished, spoken_of
from voxray.studio.script import Line, cast, parse, parse_cast, speak_script

KNOWN = {"nova": "built in", "george": "built in", "xiaoni": "built in", "me": "own"}


def test_turns() -> None:
    text = "Anna: Hello.\n\n  Bob : Hi: there.\ngoes on\n小雨：你好。"
    assert parse(text, 9) == [
        Line("Anna", "Hello."),
        Line("Bob", "Hi: there. goes on"),
        Line("小雨", "你好。"),
    ]


@pytest.mark.parametrize(
    "text", ["", "\n \n", "no name here", "Anna:", "Anna: a\nBob:  ", "A: a\n" * 10]
)
def test_scripts_that_are_none(text: str) -> None:
    with pytest.raises(Problem):
        parse(text, 9)


def test_the_cast_is_read() -> None:
    assert parse_cast("Anna = nova, Bob=me\n小雨 = xiaoni") == {
        "anna": "nova",
        "bob": "me",
        "小雨": "xiaoni",
    }
    assert parse_cast("") == {}
    for text in ("Anna", "= nova", "Anna ="):
        with pytest.raises(Problem):
            parse_cast(text)


def test_names_get_voices() -> None:
    lines = [Line("Nova", "Hi."), Line("Anna", "Hi."), Line("小雨", "你好。"), Line("Bob", "Hi.")]
    made = cast(lines, {"bob": "ME"}, KNOWN)
    assert made["Nova"] == "nova" and made["Bob"] == "me"
    assert made["Anna"] not in ("nova", "me") and made["小雨"].startswith(("x", "y"))
    with pytest.raises(Problem):
        cast(lines, {"bob": "unheard"}, KNOWN)


def test_a_script_is_one_take_of_many_records(studio: Studio) -> None:
    take = finished(speak_script(studio, "Anna: Hello.\nBob: Hi.\nAnna: Bye.", "Anna = nova", 3))
    made = take.synthesis
    assert [name.split(" ")[0] for name, _, _ in take.speakers] == ["Anna", "Bob", "Anna"]
    assert take.speakers[0][0] == take.speakers[2][0] == "Anna (nova)"
    assert len(set(take.records)) == 3
    assert [made.text[word.start : word.end] for word in made.words] == ["Hello", "Hi", "Bye"]
    ends = [end for _, _, end in take.speakers]
    assert np.all(np.diff(ends) > 0) and abs(ends[-1] - made.seconds) < 1e-3
    assert studio.shelf.file(take.id, "wav").is_file()
    with pytest.raises(Problem):
        spoken_of(studio, take)


def test_nobody_begins_unless_all_may_speak(studio: Studio, voice: object) -> None:
    studio.settings.voices.mkdir(parents=True)
    voice.save(studio.settings.voices / "nobody.safetensors")  # type: ignore[attr-defined]
    steps = speak_script(studio, "nova: Hello.\nnobody: Hi.")
    with pytest.raises(ValueError, match="consent"):
        next(steps)
