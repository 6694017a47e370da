"""Every example runs as it stands, is short, and writes what it says; on the tiny model."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from voxray.bundle import Bundle
from voxray.engine import tts

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))


def gallery() -> ModuleType:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("make_gallery", ROOT / "docs" / "make_gallery.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    found = runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
    gallery().picture(path.stem[:2], found, tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").stat().st_size > 1000
    made = [name for name in os.listdir(tmp_path) if name.startswith(path.stem[:2])]
    assert made or path.stem[:2] in ("03", "06")


def test_the_gallery_shows_every_example() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    for path in EXAMPLES:
        picture = f"img/gallery-{path.stem[:2]}.png"
        assert f"## {path.stem}" in page and picture in page
        assert 1000 < (ROOT / "docs" / picture).stat().st_size < 100_000
