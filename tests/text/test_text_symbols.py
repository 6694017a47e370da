"""The symbol table is a file format: its order, and what each symbol is."""

import pytest

from voxray.text import pinyin
from voxray.text.english import lexicon
from voxray.text.inventory import sound
from voxray.text.symbols import CORE, PUNCTUATION, SYMBOL_TO_ID, SYMBOLS


def test_sizes_and_anchor_ids():
    assert (len(CORE), len(SYMBOLS), len(set(SYMBOLS))) == (322, 732, 732)
    anchors = {"!": 0, ",": 1, "-": 2, ".": 3, "?": 4, "SP": 77, "UNK": 86, "_": 95, "[": 322}
    assert {symbol: SYMBOL_TO_ID[symbol] for symbol in anchors} == anchors


@pytest.mark.parametrize(
    ("syllable", "expected"),
    [
        ("zhong1", ("zh", "ong1")), ("zhi4", ("zh", "ir4")), ("zi3", ("z", "i03")),
        ("yan2", ("y", "En2")), ("ye4", ("y", "E4")), ("yuan2", ("y", "van2")),
        ("ju3", ("j", "v3")),
        ("lü4", ("l", "v4")), ("lv4", ("l", "v4")), ("er2", ("EE", "er2")),
        ("ang1", ("AA", "ang1")),
        ("ou3", ("OO", "ou3")), ("wo3", ("w", "o3")), ("xue2", ("x", "ve2")), ("ma", ("m", "a5")),
    ],
)  # fmt: skip
def test_pinyin(syllable, expected):
    assert pinyin.symbols(syllable) == expected
    assert pinyin.exists(syllable) == syllable[-1].isdigit()


def test_pinyin_that_does_not_exist():
    assert not pinyin.exists("liang9") and not pinyin.exists("qwx1") and not pinyin.exists("liang")
    with pytest.raises(ValueError, match="liang2"):
        pinyin.symbols("12")


def test_every_lexicon_symbol_is_an_english_sound():
    used = {s for reading in lexicon().values() for s in reading.replace("|", " ").split()}
    assert all(s in SYMBOL_TO_ID and sound(s).language == "en" for s in used)


def test_classes():
    assert sound("AH0").kind == "vowel" and sound("AH0").stress == 0
    assert sound("iang3").tone == 3 and sound("iang3").language == "zh"
    assert sound("B").voiced and not sound("b").voiced and sound("p").aspirated
    assert all(sound(mark).kind == "silence" for mark in (*PUNCTUATION, "SP"))
