"""Cutting long text as the published interfaces do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.text.published import cut, prepare, split_long


def test_methods() -> None:
    text = "一。二三，四五六！七八？九十；完。"
    assert cut(text, "cut0") == text
    assert cut(text, "cut3") == "一\n二三，四五六！七八？九十；完"
    assert cut(text, "cut5") == "一。\n二三，\n四五六！\n七八？\n九十；完。"
    assert cut("Pi is 3.14. Yes. No", "cut4") == "Pi is 3.14. Yes\n No"
    assert cut("a,b,c,d,e,f,g,h,i,", "cut1") == "a,b,c,d,\ne,f,g,h,i,"


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="cut0, cut1"):
        cut("a", "cut9")


def test_prepared_pieces_are_merged_and_ended() -> None:
    assert prepare("好的，我们今天出发", "cut5") == ["好的，我们今天出发。"]
    assert prepare("好，我们今天出发", "cut0") == ["。好，我们今天出发。"]
    assert prepare("So it is decided", "cut0", "en") == ["So it is decided."]


def test_nothing_to_say() -> None:
    assert prepare("", "cut0") == [] and prepare("。。。，！", "cut0") == []
    with pytest.raises(ValueError, match="valid text"):
        prepare("。。。，！", "cut5")


@given(st.text("ab，。.! 三", max_size=80), st.integers(5, 40))
def test_long_pieces_lose_nothing(text: str, longest: int) -> None:
    pieces = split_long(text, longest)
    assert "".join(pieces) == text
    clauses = max((len(part) for part in pieces), default=0)
    assert clauses <= max(longest, max(map(len, text.replace("。", "，").split("，")), default=0))
