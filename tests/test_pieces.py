"""What the GPT is given: closing marks, their place and number, and where they are not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxray.pieces import ENDS, Piece, Script
from voxray.text import PublishedPipeline, TextPipeline

LONG = (
    "the people of the town walked along the river in the morning and looked for the old bridge"
    " because somebody had told them that it was still there behind the trees near the mill"
)


def read(text: str, language: str = "auto") -> tuple[Script, list[Piece]]:
    script = Script(text, TextPipeline(), language, 280)
    return script, list(script)


def endings(text: str) -> str:
    script, pieces = read(text)
    return "".join(script.items[piece.items[-1]].symbol for piece in pieces if piece.spoken)


@pytest.mark.parametrize(
    "text",
    ["I really liked that account of himself", "你好世界", "At 9", "一起去吧[300ms]好"],
)
def test_a_text_says_the_same_with_and_without_its_final_stop(text: str) -> None:
    plain, stopped = read(text)[1], read(text + ".")[1]
    assert [piece.ids for piece in plain] == [piece.ids for piece in stopped]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("Hello", "."), ("Hello?", "?"), ("Hello. Bye", ".."), ("one line\nanother", ".."),
        ("Wait[700ms]here", ".."), ("Wait,[700ms][1s]here!", ".!"), ("你好 😀", "."), ("He said \"go\"", "."),
        ("Line \nnext", ".."), ("Line\r\nnext", ".."), (LONG, ".."), ("Well,", "."), ("So…", "."),
    ],
)  # fmt: skip
def test_marks(text: str, marks: str) -> None:
    assert endings(text) == marks


def test_a_mark_is_a_pause_without_a_place_in_the_text() -> None:
    script, (piece,) = read("Hello there")
    mark = script.phonemes().items[-1]
    assert (mark.symbol, mark.word, mark.kind, mark.pause_ms) == (".", -1, "silence", None)
    assert mark.start == mark.end == len("Hello there")
    assert piece.items[-1] == len(script.items) - 1 and piece.words[-1] == -1


def test_a_stop_in_the_place_of_a_comma_keeps_its_span() -> None:
    script, _ = read("Hello there,")
    assert script.text[script.items[-1].start : script.items[-1].end] == ","


def test_numbers_stay_right_behind_a_mark() -> None:
    script, pieces = read("One two [300ms] three\nfour")
    phonemes = script.phonemes()
    for piece in pieces:
        assert piece.ids == tuple(phonemes.ids[index] for index in piece.items)
        assert piece.words == tuple(phonemes.items[index].word for index in piece.items)
    for item in phonemes.items:
        if item.word >= 0:
            word = phonemes.words[item.word]
            assert word.start <= item.start <= item.end <= word.end
    assert [phonemes.text[w.start : w.end] for w in phonemes.words] == "One two three four".split()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab,. ，。[3ms]!-…\n一9", min_size=1, max_size=80))
def test_every_spoken_piece_ends_with_a_mark(text: str) -> None:
    try:
        script, pieces = read(text)
    except ValueError:
        return
    for piece in pieces:
        if piece.spoken:
            assert script.items[piece.items[-1]].symbol in ENDS
    places = [index for piece in pieces for index in piece.items]
    assert places == sorted(set(places))


def test_a_cut_in_a_sentence_gets_half_a_pause() -> None:
    assert [piece.pause_ms for piece in read(LONG + "\nEnd")[1]] == [140, 280, 140]
    wrapped = LONG.replace(" because", "\nbecause")
    assert [piece.pause_ms for piece in read(wrapped)[1]] == [140, 140]


def test_published_models_are_given_what_they_were() -> None:
    script = Script("Good morning everybody", PublishedPipeline(version="v1"), "en", 0)
    (piece,) = script
    assert piece.ids == tuple(script.pipeline("Good morning everybody", "en").ids)
    assert piece.words[-1] >= 0
