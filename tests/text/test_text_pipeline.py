"""The whole front end: spans, languages, pauses, controls, lexicon, refusals, fingerprint."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.packaged import BUILTIN
from voxray.text import PublishedPipeline, TextPipeline, check, split_sentences
from voxray.text.fingerprint import rules_digest
from voxray.text.symbols import SYMBOLS

speak = TextPipeline()
MIXED = "我在1999年买了12500 apples，花了$0.5。"


def test_every_phoneme_knows_its_word_and_span():
    result = speak("Dr. Lee paid $3.50 to 王老师。")
    for item in result.items:
        assert SYMBOLS[item.id] == item.symbol and 0 <= item.start < item.end <= len(result.text)
        if item.word >= 0:
            word = result.words[item.word]
            assert word.start <= item.start and item.end <= word.end
            assert word.language == item.language
        else:
            assert item.kind == "silence"
    spoken = {word.text: result.text[word.start : word.end] for word in result.words}
    assert spoken["Doctor"] == "Dr." and spoken["fifty"] == "$3.50" and spoken["Lee"] == "Lee"


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        (MIXED, "zh zh zh zh zh en zh"),
        ("Version 8.20发布了", "en en zh"),
        ("我买了3 apples和2个banana", "zh zh zh zh en zh zh en"),
        ("用Q3，2.0版本", "zh en zh"),
    ],
)
def test_language_by_script(text, languages):
    found = [word.language for word in speak(text).words]
    assert [x for i, x in enumerate(found) if i == 0 or x != found[i - 1]] == [
        x for i, x in enumerate(languages.split()) if i == 0 or x != languages.split()[i - 1]
    ]


def test_bare_number_takes_the_given_language():
    assert str(speak("1234", "zh")).startswith("y i4 q ian1")
    assert str(speak("12", "en")) == "T W EH1 L V"


def test_pauses_are_tidied():
    assert str(speak("...Hello, (world)?!  ")) == "HH AH0 L OW1 , W ER1 L D ?"
    assert str(speak("你好……")) == "n i2 h ao3 …"


def test_controls():
    assert str(speak("重[zhong4]庆")) == "zh ong4 q ing4"
    assert str(speak("重庆[zhong4 qing1]")) == "zh ong4 q ing1"
    assert str(speak("read[R IY1 D]")) == "R IY1 D"
    paused = speak("你好[300ms]world")
    assert [(i.symbol, i.pause_ms) for i in paused.items if i.pause_ms] == [("SP", 300)]
    assert speak("你好[0.5s]吗").items[4].pause_ms == 500
    assert "bracket" in [word.text for word in speak("a [bracket] here").words]


@pytest.mark.parametrize("text", ["重[zhong9]庆", "你[chong2 qing4]", "你好[99s]吗"])
def test_wrong_controls_are_refused(text):
    with pytest.raises(ValueError):
        speak(text)


def test_user_lexicon(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("# mine\n重庆\tzhong4 qing1\nNguyen\tW IH1 N\nvoxray\t= vox ray\n", "utf-8")
    mine = TextPipeline(path)
    assert str(mine("重庆")) == "zh ong4 q ing1" and str(mine("nguyen's")) != str(mine("Nguyen"))
    assert str(mine("Nguyen")) == "W IH1 N"
    assert [word.text for word in mine("voxray!").words] == ["vox", "ray"]
    path.write_text("重庆\tzhong4\n", "utf-8")
    with pytest.raises(ValueError, match="line 1"):
        TextPipeline(path)


@pytest.mark.parametrize(
    "text", ["", "  \n", "😀👍", "……！", "привет", "\0", "\ue000", "x" * 100_000, "1" * 5_000]
)
def test_refusals(text):
    with pytest.raises(ValueError):
        speak(text)


def test_other_scripts_are_reported():
    assert "し" in speak("hello こし").warnings[0]
    assert not speak("2½ m²").warnings


def test_published_convention():
    published = PublishedPipeline()
    assert str(published("Hi", "en")) == ", . HH AY1"  # so recorded
    assert str(published("At 3:00, NASA.", "en")).endswith("EH1 M . EH1 N EY1 EH1 S EY1 .")
    assert str(published("停顿^测试，好", "zh")) == "t ing2 d un4 SP3 c e4 sh ir4 SP3 h ao3"
    assert published.fingerprint != speak.fingerprint


def test_check_names_what_differs():
    saved = json.loads(json.dumps(speak.manifest()))
    assert check(saved).same and saved["fingerprint"] == speak.fingerprint
    saved["fingerprint"] = "0" * 16
    saved["library"]["jieba"] = "0.1"
    saved["probes"]["Hello, world!"] = "HH AY1"
    report = check(saved)
    assert not report.same and [d.name for d in report.differences] == ["jieba"]
    assert [s.text for s in report.sentences] == ["Hello, world!"] and "jieba" in str(report)
    with pytest.raises(ValueError, match="manifest"):
        check({})


def test_the_built_in_model_reads_with_this_front_end():
    """Rules that change want a new fingerprint and `text.json` in the model: `stages.save_text_manifest`."""
    config = json.loads((BUILTIN / "mini" / "config.json").read_text(encoding="utf-8"))["config"]
    assert config["fingerprint"] == speak.fingerprint


def test_the_fingerprint_of_the_published_conventions_covers_their_rules():
    published = PublishedPipeline(version="v1")
    saved = json.loads(json.dumps(published.manifest()))
    assert (
        "published/zh.py" in saved["rules"] and "published/zh.py" not in speak.manifest()["rules"]
    )
    assert check(saved).same
    assert published.fingerprint != PublishedPipeline(version="v2").fingerprint
    saved["fingerprint"], saved["rules"]["published/zh.py"] = "0" * 16, "0" * 16
    assert [d.name for d in check(saved).differences] == ["published/zh.py"]


def test_rules_digest_ignores_comments_and_docstrings():
    plain = 'def f():\n    """One."""\n    return 1  # why\n'
    assert rules_digest(plain) == rules_digest('def f():\n    """Two."""\n\n    return 1\n')
    assert rules_digest(plain) != rules_digest(plain.replace("return 1", "return 2"))


def test_split_sentences():
    text = "Dr. Lee paid $3.50. He left... OK! 你好。我3.5岁！…… The U.S. economy [300ms] grew."
    pieces = [text[a:b] for a, b in split_sentences(text)]
    assert pieces[0] == "Dr. Lee paid $3.50." and "你好。" in pieces
    assert pieces[-1] == "The U.S. economy [300ms] grew."
    long = "好" * 500 + "，" + "word " * 100
    assert all(b - a <= 60 for a, b in split_sentences(long, 60))
    assert split_sentences("……") == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text("ab'A-.[] 19$%°中不一三5,:/~…", max_size=40))
def test_any_text_is_spoken_or_refused(text: str):
    try:
        result = speak(text)
    except ValueError:
        return
    assert all(0 <= item.start <= item.end <= len(text) for item in result.items)
    assert result == speak(text) and any(item.word >= 0 for item in result.items)


@settings(max_examples=60, deadline=None)
@given(st.text("ab. ，。[3ms]!\n一9", max_size=200), st.integers(10, 50))
def test_splitting_loses_no_word(text: str, limit: int):
    spans = split_sentences(text, limit)
    kept = "".join(text[a:b] for a, b in spans)
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]
    assert all(b - a <= limit for a, b in spans)
