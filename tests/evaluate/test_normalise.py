"""What is said in the same way must compare as the same, whoever wrote it down."""

from __future__ import annotations

import pytest

from voxray.evaluate import metrics, normalise


def same(one: str, other: str, language: str) -> bool:
    readings = (normalise.readings(text, language) for text in (one, other))
    return metrics.best_alignment(*readings).errors == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It's 1999.", "It's nineteen ninety-nine"),
        ("I don't know, Mr. Hill!", "i do not know mister hill"),
        ("The colour was grey.", "the color was gray"),
        ("We walked 12,500 metres.", "We walked twelve thousand five hundred meters."),
        ("It cost $3.50.", "It cost three dollars and fifty cents"),
        ("Up 5%", "up five percent"),
        ("She came 2nd at 3:30", "She came second at three thirty."),
        ("Call 555 0199", "call five five five zero one nine nine"),
        ("the U.S. navy", "The US Navy"),
        ("A well-known ice cream", "a well known icecream"),
        ("We meet at 5 o'clock.", "we meet at five"),
    ],
)
def test_english_said_alike(one: str, other: str) -> None:
    assert same(one, other, "en")


def test_english_said_differently() -> None:
    assert not same("It's 1999.", "It's 1998.", "en")
    assert not same("I can go", "I can't go", "en")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("從青島到蘭州有3179公里。", "从青岛到兰州有三千一百七十九公里"),
        ("她说，它很好！", "他说它很好"),
        ("2024年5月", "二零二四年五月"),
        ("上涨了50%", "上涨了百分之五十"),
        ("我们下午3:30见", "我们下午三点三十分见"),
        ("两个人", "2个人"),
        ("我有一台iPhone", "我有一台 iphone。"),
    ],
)
def test_mandarin_said_alike(one: str, other: str) -> None:
    pytest.importorskip("opencc")
    assert same(one, other, "zh")


def test_syllables_without_tones() -> None:
    pytest.importorskip("opencc")
    pytest.importorskip("pypinyin")
    tokens = normalise.mandarin("妈妈骑马 ok 绿色")
    assert normalise.toneless(tokens) == ["ma", "ma", "qi", "ma", "ok", "lv", "se"]
    assert normalise.toneless(normalise.mandarin("买")) == normalise.toneless(["卖"])
