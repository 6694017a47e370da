"""`voxray explain` and `voxray tokens` write their pages; bad input is one clear line and exit code 2."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests_explain import nobody

from conftest import speechlike
from voxray import audio
from voxray.bundle import Bundle
from voxray.commands import main


@pytest.fixture
def folder(tiny: Bundle, tmp_path: Path) -> Path:
    tiny.save(tmp_path / "model", half=False)
    nobody().save(tmp_path / "nobody.safetensors")
    return tmp_path


def test_explain_writes_page_numbers_and_tables(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["explain", "Hello there.", "--model", str(folder / "model"), "--seed", "3"]
    given += ["--voice", str(folder / "nobody.safetensors"), "--tables", str(folder / "csv")]
    assert main([*given, "-o", str(folder / "page.html")]) == 0
    text = (folder / "page.html").read_text("utf-8")
    assert "Hello there." in text and "voxray explain" in text and "--seed 3" in text
    with (folder / "csv" / "words.csv").open(encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["Hello", "there"]
    assert "page.html" in capsys.readouterr().out


def test_what_is_wrong_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", str(folder / "model"), "--voice", str(folder / "nobody.safetensors")]
    assert main(["explain", "Hello.", *given, "-o", str(folder / "x.pdf")]) == 2
    assert ".html or .json" in capsys.readouterr().err
    assert main(["explain", " ", *given]) == 2
    assert "empty" in capsys.readouterr().err
    assert main(["tokens", str(folder / "none.tsv"), "--model", str(folder / "model")]) == 2
    assert "no such manifest" in capsys.readouterr().err
    audio.write_audio(folder / "a.wav", speechlike(2.0), 16_000)
    (folder / "a.list").write_text("a.wav|someone|en|Hello there.\n", "utf-8")
    assert main(["tokens", str(folder / "a.list"), "--model", str(folder / "model")]) == 2
    assert "too few" in capsys.readouterr().err
