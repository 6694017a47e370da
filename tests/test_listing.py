"""`.list` files come back as they were, and say which line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxray.commands import main
from voxray.train.corpus import read_manifest
from voxray.train.listing import Line, read_list, write_list

TEXT = "a/1.wav|anna|ZH|你好，世界。\nb 2.wav|anna|en|Either|or.\nc.wav|ben|JP|こんにちは\n"


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text(TEXT, encoding="utf-8")
    lines = read_list(path)
    assert [line.language for line in lines] == ["zh", "en", "ja"]
    assert lines[1].text == "Either|or."  # only the first three bars divide
    write_list(tmp_path / "y.list", lines)
    assert (tmp_path / "y.list").read_bytes() == path.read_bytes()


def test_a_list_is_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text(TEXT, encoding="utf-8")
    clips = read_manifest(path)
    assert [clip.split for clip in clips] == ["train"] * 3
    assert clips[0].path == tmp_path / "a" / "1.wav" and clips[2].language == "ja"


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no clips"), ("a.wav|anna|en\n", ":1 has 3"), ("\na.wav|anna|fr|Oui.\n", ":2: language")],
)
def test_wrong_lists_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.list"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_list(path)


def test_a_line_break_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        write_list(tmp_path / "x.list", [Line("a.wav", "anna", "en", "one\ntwo")])
    assert not list(tmp_path.iterdir())


def test_the_command_writes_what_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people").mkdir()
    rows = "path\tspeaker\tlanguage\ttext\tsplit\n1.wav\tanna\tzh\t你好。\ttrain\n"
    (tmp_path / "people" / "a.tsv").write_text(rows, encoding="utf-8")
    (tmp_path / "b.list").write_text(TEXT, encoding="utf-8")
    out = tmp_path / "all.list"
    given = ["data", "list", str(tmp_path / "people" / "a.tsv"), str(tmp_path / "b.list")]
    assert main([*given, "-o", str(out)]) == 0, capsys.readouterr().err
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["people/1.wav|anna|ZH|你好。", "a/1.wav|anna|ZH|你好，世界。"]
    assert lines[2] == "b 2.wav|anna|EN|Either|or."
    assert [clip.path for clip in read_manifest(out)][1] == tmp_path / "a" / "1.wav"
    assert main([*given, "-o", str(tmp_path / "b.list")]) == 2
    assert main([*given, "-o", str(tmp_path / "b.txt")]) == 2
    assert (tmp_path / "b.list").read_text(encoding="utf-8") == TEXT
