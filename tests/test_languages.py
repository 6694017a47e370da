"""The published languages from the command's option to the phonemes; what is not spoken is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxray.bundle import Bundle
from voxray.engine import check_options, tts
from voxray.pieces import Script
from voxray.text import PublishedPipeline
from voxray.voice import Voice

MODES = ["auto", "en", "zh", "ja", "ko", "yue", "auto_yue", "all_zh", "all_ja", "all_ko", "all_yue"]


@pytest.mark.parametrize("mode", MODES)
def test_every_published_mode_is_an_option(mode: str) -> None:
    assert check_options({"language": mode}).language == mode


@pytest.mark.parametrize("mode", ["", "fr", "all_en", "zh_all", "auto_ja"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="language"):
        check_options({"language": mode})


def test_the_built_in_model_speaks_two(tiny: Bundle, voice: Voice) -> None:
    with pytest.raises(ValueError, match="choose auto, en or zh"):
        tts("Hello.", voice, model=tiny, language="ja")


@pytest.mark.parametrize(
    ("text", "version", "pieces"),
    [
        ("안녕하세요. 반갑습니다.", "v2", 2),
        ("こんにちは。さようなら。", "v1", 2),
        ("안녕하세요. Good morning.", "v1", 1),  # v1 has no Korean
    ],
)
def test_sentences_of_every_script_are_sentences(text: str, version: str, pieces: int) -> None:
    from voxray.pieces import sayable
    from voxray.text import split_sentences

    pipeline = PublishedPipeline(version=version)  # type: ignore[arg-type]
    assert (
        len(sayable(text, split_sentences(text, 160, pipeline.speaks), pipeline.speaks)) == pieces
    )


def test_v1_says_which_languages_it_has() -> None:
    with pytest.raises(ValueError, match="v1 speaks auto, en, zh, ja"):
        list(Script("Hello 안녕.", PublishedPipeline(version="v1"), "ko", 0))


def test_korean_is_read(tmp_path: Path) -> None:
    pytest.importorskip("g2pk2")
    pytest.importorskip("mecab")
    script = Script("안녕하세요.", PublishedPipeline(), "ko", 0)
    (piece,) = list(script)
    assert piece.spoken and {item.language for item in script.items} == {"ko"}


def test_mandarin_without_g2pw_says_so(tmp_path: Path) -> None:
    script = Script("你好。", PublishedPipeline(polyphones=tmp_path), "zh", 0)
    list(script)
    assert any("pypinyin" in note and "g2pW" in note for note in script.phonemes().warnings)
    given = PublishedPipeline(polyphones=lambda clause: ["ni3", "hao3"])
    script = Script("你好。", given, "zh", 0)
    list(script)
    assert not script.phonemes().warnings
    script = Script("Good morning, everybody.", PublishedPipeline(), "en", 0)
    list(script)
    assert not script.phonemes().warnings
