"""Text cut into breaths: nothing lost, words whole, below the limit, at good places."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.text import split_breaths
from voxray.text.breath import letters

ENGLISH = st.sampled_from("a we river morning and because the of garden, window; 1987".split())
MANDARIN = st.sampled_from("我们 公园 因为 城市 的 慢慢 图书馆 ， 、 三".split())


def parts(text: str, limit: float) -> list[str]:
    return [text[begin:end] for begin, end in split_breaths(text, limit)]


@settings(max_examples=60, deadline=None)
@given(st.text("ab. ，。[3ms]!\n一9", max_size=200), st.integers(10, 50))
def test_nothing_that_can_be_said_is_lost(text: str, limit: int) -> None:
    spans = split_breaths(text, limit)
    kept = "".join(text[begin:end] for begin, end in spans)
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))


@settings(max_examples=60, deadline=None)
@given(st.lists(ENGLISH, min_size=1, max_size=80), st.integers(40, 200))
def test_breaths_of_words_are_below_the_limit_and_whole(words: list[str], limit: int) -> None:
    made = parts(" ".join(words), limit)
    assert [word for part in made for word in part.split()] == words
    assert all(sum(letters(part.strip(",; "))) <= limit for part in made)


@settings(max_examples=40, deadline=None)
@given(st.lists(MANDARIN, min_size=1, max_size=60), st.integers(40, 200))
def test_breaths_of_han_are_below_the_limit(words: list[str], limit: int) -> None:
    text = "".join(words)
    assert all(sum(letters(part.strip("，、"))) <= limit for part in parts(text, limit))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["river", "[500 ms]", "read[R EH1 D]", "重[chong2]庆"]), min_size=1),
    st.integers(10, 60),
)
def test_controls_stay_whole(words: list[str], limit: int) -> None:
    text = " ".join(["begin", *words])
    for part in parts(text, limit):
        assert part.count("[") == part.count("]") and not part.startswith("[")


def test_cut_into_equal_parts_where_a_clause_begins() -> None:
    text = (
        "we could not see the road in the fog that morning"
        " because somebody had taken the lamps away from the gate"
    )
    assert parts(text, 80)[1].startswith("because")
    text = "他每天早上都要去河边的公园里跑步因为医生说这样对他的身体有很大的好处"
    assert parts(text, 80)[1].startswith("因为")


def test_no_cut_after_an_article_nor_inside_a_word() -> None:
    text = "somebody painted the wooden gate the garden wall the kitchen door " * 3
    assert not any(part.split()[-1] == "the" for part in parts(text, 60))
    assert not any(part[-1] == "图" for part in parts("红色图书馆" * 20, 60))


def test_commas_come_first() -> None:
    text = "The bridge was closed for years, and nobody who lived there knew the reason for it."
    assert parts(text, 70)[0] == "The bridge was closed for years,"
    assert parts(text, 100) == [text]


def test_a_word_longer_than_a_breath_is_cut_all_the_same() -> None:
    assert "".join(parts("a" * 500, 60)) == "a" * 500
    assert max(map(len, parts("a" * 500, 60))) <= 60


def test_what_takes_long_to_say_counts_for_more() -> None:
    assert len(parts("abcdef " * 10, 80)) == 1
    assert len(parts("一二三四五六" * 10, 80)) > 2
    assert len(parts("1987 2024 " * 5, 80)) > 2


def test_a_line_wrapped_at_its_width_goes_on() -> None:
    wrapped = "The people of the town walked along the river\nand looked for the old wooden bridge."
    assert parts(wrapped, 150) == [wrapped]
    assert parts("milk and bread\neggs", 150) == ["milk and bread", "eggs"]


def test_a_long_text_without_any_mark_is_cut_in_time() -> None:
    assert len(parts("word " * 10_000, 150)) > 300


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="10 or more"):
        split_breaths("hello", 5)
