"""Notes are their sentences, and the text front end's warning becomes one."""

from __future__ import annotations

from voxray.notes import Note, of_text
from voxray.text import TextPipeline


def test_what_the_front_end_left_out_is_a_note() -> None:
    (warning,) = TextPipeline()("hello ظظ there").warnings
    note = of_text(warning)
    assert isinstance(note, Note) and note == warning
    assert note.code == "unspoken" and note.values["characters"]


def test_other_warnings_stay_as_they_are() -> None:
    assert of_text("something else") == "something else"
