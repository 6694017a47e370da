"""Texts and speakers are chosen as said; sexes and languages are kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray.evaluate import sets


def clip(
    speaker: str, seconds: float, number: int = 0, sex: str = "f", language: str = "en"
) -> sets.Clip:
    path = Path(f"{speaker}-{number}.wav")
    return sets.Clip(path, "corpus", speaker, language, seconds, sex, text="hello", split="test")


def test_texts_are_read_with_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("text\tlanguage\nHello there.\ten-us\n你好。\tzh\n", encoding="utf-8")
    lines = sets.read_texts(path)
    assert [(line.language, line.kind) for line in lines] == [
        ("en", "sentence"),
        ("zh", "sentence"),
    ]
    assert len({line.id for line in lines}) == 2


def test_a_texts_file_without_texts_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("id\tlanguage\n1\ten\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the columns text"):
        sets.read_texts(path)


def test_the_project_s_own_texts_are_many_and_unlike() -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks" / "texts"
    for name in ("en", "zh"):
        lines = sets.read_texts(folder / f"{name}.tsv")
        assert len({line.text for line in lines}) == len(lines) >= 100
        assert {line.kind for line in lines} == {"short", "sentence", "long", "paragraph"}
        assert {line.language for line in lines} == {name}


def test_the_reference_is_the_longest_fitting_clip() -> None:
    clips = [clip("a", 4.0, 0), clip("a", 9.0, 1), clip("a", 15.0, 2), clip("a", 1.0, 3)]
    (made,) = sets.references(clips, "en")
    assert made.clip.seconds == 9.0
    assert [own.seconds for own in made.own] == [15.0, 4.0]


def test_a_single_clip_is_halved() -> None:
    (made,) = sets.references([clip("a", 6.0)], "en")
    assert (made.clip.begin, made.clip.end) == (0.0, 3.0)
    assert (made.own[0].begin, made.own[0].end) == (3.0, 6.0)
    assert sets.references([clip("a", 3.0)], "en") == []


def test_a_half_is_written_once_and_is_a_half(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.sin(np.arange(64_000) / 20).astype(np.float32), 16_000)
    half = sets.Clip(path, "c", "a", "en", 4.0, begin=2.0, end=4.0)
    assert len(half.wave()) == 32_000
    assert soundfile.info(half.file(tmp_path)).frames == 32_000
    assert sets.Clip(path, "c", "a", "en", 4.0).file(tmp_path) == path


def test_impostors_are_others_of_the_same_sex_and_language() -> None:
    clips = [clip(name, 6.0, i, name[1]) for name in ("af", "bf", "cf", "am") for i in range(2)]
    clips += [clip("zh", 6.0, 0, "f", "zh")]
    pool = sets.references(clips, "en") + sets.references(clips, "zh")
    target = next(reference for reference in pool if reference.speaker == "af")
    assert {other.speaker for other in sets.impostors(target, pool)} == {"bf", "cf"}
    line_up = sets.line_up(target, pool)
    assert line_up[0] is target
    assert len(line_up) == 4


def test_a_few_of_each_kind_are_picked_evenly() -> None:
    lines = [sets.Line(str(i), "x", "en", "sentence") for i in range(10)]
    lines += [sets.Line("l", "x", "en", "long")]
    picked = sets.pick(lines, {"sentence": 3, "long": 2, "paragraph": 1})
    assert [line.id for line in picked] == ["0", "4", "9", "l"]
