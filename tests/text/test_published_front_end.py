"""The front end of the published models: modes, tables, segments, pauses, missing packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voxray.text.published import PublishedPipeline, ja, ko, optional, yue
from voxray.text.published.segments import split
from voxray.text.published.symbols import TABLES, known
from voxray.text.spans import SpanText


@pytest.fixture(scope="module")
def speak() -> PublishedPipeline:
    return PublishedPipeline()


def stretches(text: str, mode: str) -> list[tuple[str, str]]:
    return [(language, part.text) for language, part in split(SpanText.of(text), mode)]


def test_tables() -> None:
    assert {name: len(table) for name, table in TABLES.items()} == {"v1": 322, "v2": 732}
    assert TABLES["v2"][:322] == TABLES["v1"]
    assert [known(s, "v1") for s in ("a1", "[", "#", "Yaa")] == ["a1", "UNK", "UNK", "UNK"]
    assert [known(s, "v2") for s in ("a1", "[", "#", "Yaa")] == ["a1", "[", "UNK", "Yaa"]


def test_modes_cut_a_text_into_languages() -> None:
    mixed = "今天的meeting改到3pm，ok吗？"
    assert stretches(mixed, "zh") == [
        ("zh", "今天的"), ("en", "meeting"), ("zh", "改到"), ("en", "3pm，ok"), ("zh", "吗？"),
    ]  # fmt: skip
    assert ("zh", "改到3") in stretches(mixed, "all_zh")
    assert stretches(mixed, "en") == [("en", mixed)]
    assert {language for language, _ in stretches(mixed, "auto_yue")} == {"yue", "en"}
    assert stretches("3.08kg的包裹", "all_ja")[0] == ("ja", "3.08")


def test_auto_tells_the_scripts_apart() -> None:
    assert stretches("我喜欢日本の漫画", "auto") == [("zh", "我喜欢"), ("ja", "日本の漫画")]
    assert stretches("대박, 太好了。", "auto") == [("ko", "대박, "), ("zh", "太好了。")]
    assert stretches("東京です。今天下雨。", "auto") == [("ja", "東京です。"), ("zh", "今天下雨。")]
    assert stretches("！《Harry》", "auto") == [("en", "！《Harry》")]


def test_every_character_belongs_to_a_stretch() -> None:
    for text in ("a1b2。", "…", "3", "日本の😀 GPT-4：5%！", "\n\n가"):
        for mode in ("auto", "zh", "all_ko"):
            assert "".join(part for _, part in stretches(text, mode)) == text


def test_short_texts_get_a_full_stop(speak: PublishedPipeline) -> None:
    assert str(speak("你好。", "zh")) == ". n i2 h ao3 ."
    assert str(speak("Hi", "en")) == ", . HH AY1"
    assert str(speak("今天好", "all_zh")) == "j in1 t ian1 h ao3"
    assert str(speak.clean("Hi", "en")) == ", HH AY1"


def test_word2ph_and_segments_cover_the_phones(speak: PublishedPipeline) -> None:
    found = speak("他说：我有 3 个 apples。", "auto")
    assert found.segments[0].first == 0 and found.segments[-1].last == len(found)
    chinese = found.segments[0]
    assert chinese.word2ph is not None
    assert len(chinese.word2ph) == len(chinese.normalised)
    assert sum(chinese.word2ph) == chinese.last - chinese.first
    assert found.word2ph is None and speak("你好，世界。", "zh").word2ph == [2, 2, 1, 2, 2, 1]
    assert all(found.text[i.start : i.end] for i in found.items)


def test_pause_controls(speak: PublishedPipeline) -> None:
    assert str(speak("停顿^测试，好", "zh")) == "t ing2 d un4 SP3 c e4 sh ir4 SP3 h ao3"
    both = speak("停￥顿^测试，好", "zh").symbols
    assert both.count("SP2") == 3 and "SP3" not in both and "," not in both


def test_erhua_is_merged_in_v2_only() -> None:
    text = "这件事儿不难办。"
    assert "EE er4" in str(PublishedPipeline(version="v2")(text, "zh"))
    assert "EE er2" in str(PublishedPipeline(version="v1")(text, "zh"))


def test_v1_knows_fewer_modes() -> None:
    with pytest.raises(ValueError, match="v1 speaks auto, en"):
        PublishedPipeline(version="v1")("你好", "yue")
    with pytest.raises(ValueError, match="choose v1 or v2"):
        PublishedPipeline(version="v3")  # type: ignore[arg-type]


def test_polyphones_can_be_given(tmp_path: Path) -> None:
    def readings(clause: str) -> list[str]:
        return ["chong2" if char == "重" else "" for char in clause]

    own = PublishedPipeline(polyphones=readings)
    assert str(own("很重要的人", "zh")).split()[2:4] == ["ch", "ong2"]
    assert "given function" in own.notes[0]
    absent = PublishedPipeline(polyphones=tmp_path)
    assert "pypinyin" in absent.notes[0] and "g2pW.onnx" in absent.notes[0]
    assert absent("很重要的人", "zh").notes == absent.notes


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ToJyutping", None)
    with pytest.raises(ImportError, match=r"voxray\[gptsovits\]"):
        PublishedPipeline()("早晨", "yue")
    with pytest.raises(optional.MissingPackage, match="no_such_package"):
        optional.parts("no_such_package", ["inner"], "A test")


def test_modules_inside_a_package_load_without_its_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "noisy_package"
    home.mkdir()
    (home / "__init__.py").write_text("raise RuntimeError('downloads')\n")
    (home / "inner.py").write_text("from noisy_package.other import VALUE\n")
    (home / "other.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (inner,) = optional.parts("noisy_package", ["inner"], "A test")
    assert inner.VALUE == 7 and "noisy_package" not in sys.modules


def test_the_japanese_dictionary_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no sys.dic"):
        ja.dictionary_folder(tmp_path)


def test_japanese_marks_follow_the_labels() -> None:
    def label(phone: str, accent: str, morae: int = 2) -> str:
        return f"x^x-{phone}+x=x/A:{accent}/B:x/F:{morae}_1#"

    rise = [label("h", "-1+1+2"), label("a", "-1+1+2"), label("n", "0+2+1"), label("A", "0+2+1")]
    silence = "x^x-sil+x=x/A:xx+xx+xx/F:xx_xx#"
    assert ja.phones([silence, *rise, silence]) == ["h", "a", "[", "n", "a"]
    fall = [label("a", "0+1+2"), label("i", "1+2+1")]
    assert ja.phones([silence, *fall, silence]) == ["a", "]", "i"]
    assert ja.phones([label("a", "1+2+1"), label("o", "0+1+2"), silence])[1] == "#"


def test_jyutping_symbols() -> None:
    assert yue.symbols("gam1") == ("Yg", "Yam1") and yue.symbols("gwok3") == ("Ygw", "Yok3")
    assert yue.symbols("ng5") == ("Yng", "Yg5") and yue.symbols("uk1") == ("Yuk", "Yk1")
    assert yue.symbols("aa3") == ("Yaa", "Ya3") and yue.symbols("m4") == ("Ym", "Ym4")


def test_jamo() -> None:
    assert ko._symbols("왜") == ["ㅇ", "ㅗ", "ㅐ"] and ko._symbols("독") == ["ㄷ", "ㅗ", "ㄱ"]
    assert ko._symbols(" ") == ["空"] and ko._symbols('"') == ["停"]
