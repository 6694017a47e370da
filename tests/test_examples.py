"""Every example runs as it stands, is short, and writes what it says; on the tiny model."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

from voxray.bundle import Bundle
from voxray.engine import tts

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_they_do(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 40
    assert lines[0].startswith('"""')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(
    path: Path, tiny: Bundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(Bundle, "builtin", classmethod(lambda _: tiny))
    monkeypatch.setattr(tts, "_pipelines", {})
    monkeypatch.setattr(sys, "argv", [str(path), str(recording)])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
    made = [name for name in os.listdir(tmp_path) if name.startswith(path.stem[:2])]
    assert made or path.stem[:2] in ("03", "06")
