"""`measure`, `tune` and `compress` on the command line: what is wrong is said in one line, exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray.commands import main


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error."""
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    lines = [line for line in told if line.startswith("voxray: ") and "warning" not in line]
    assert not any("Traceback" in line for line in told)
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "prompt.wav", np.zeros(16_000), 16_000)
    path = tmp_path / "set.lst"
    path.write_text("a|x|prompt.wav|Hello.\n", encoding="utf-8")
    return path


def test_measure(capsys: pytest.CaptureFixture[str], items: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.lst"
    assert "no such list" in said(capsys, "measure", "mini", "--set", nowhere)
    assert "no such model" in said(capsys, "measure", "my-model", "--set", items)
    refused = said(capsys, "measure", "x", "--set", items, "--command", "say {text}")
    assert "must hold {out}" in refused


def test_tune(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ("--voice", "anna", "--no-judges", "-o", tmp_path / "out")
    assert "no audio" in said(capsys, "tune", "--audio", empty, *options)
    assert "no such file or folder" in said(capsys, "tune", "--audio", tmp_path / "x", *options)
    assert "no name for a voice" in said(capsys, "tune", "--audio", empty, "--voice", "a/b")
    soundfile.write(empty / "a.wav", np.zeros(48_000), 16_000)
    assert "a.wav is silent" in said(capsys, "tune", "--audio", empty, *options)
    alone = ["tune", "--audio", empty, *options, "--judges", tmp_path / "none"]
    for more, told in (([], True), (["--only", "gpt"], False)):  # who hears whether it is like?
        assert main([str(word) for word in [*alone, *more]]) == 2
        assert ("will be less like" in capsys.readouterr().err) == told


def test_compress(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = ("-o", tmp_path / "out")
    assert "no such model" in said(capsys, "compress", "onnx", tmp_path / "x", *output)
