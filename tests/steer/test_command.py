"""`voxray steer`: files of edits made, joined, shown; bad ones refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxray import steer
from voxray.bundle import Bundle
from voxray.commands import main
from voxray.engine import tts


@pytest.fixture(autouse=True)
def _tiny(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bundle, "builtin", classmethod(lambda _: tiny))
    monkeypatch.setattr(tts, "_pipelines", {})


def test_made_joined_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, both = (str(tmp_path / name) for name in ("1.json", "2.json", "3.json"))
    assert main(["steer", "word", "dear", "--semitones", "2", "--pause", "100", "-o", one]) == 0
    assert main(["steer", "head", "gpt.blocks.1.attn.z", "1", "--gain", "0.5", "-o", two]) == 0
    assert main(["steer", "join", one, two, "-o", both]) == 0
    joined = steer.load(both)
    assert [edit.kind for edit in joined.edits] == ["prosody", "head"]
    assert joined.model == "tiny"
    assert main(["steer", "show", both]) == 0
    assert "gpt.blocks.1.attn.z" in capsys.readouterr().out
    assert main(["steer", "sites"]) == 0
    assert "generator.decoder.f0" in capsys.readouterr().out


def test_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "1.json")
    for arguments, said in (
        (["head", "gpt.blocks.9.attn.z", "0"], "did you mean"),
        (["word", "dear", "--rate", "99"], "rate"),
        (["emphasis", "dear", "--dose", "0"], "dose"),
        (["show", str(tmp_path / "none.json")], "no such file"),
    ):
        tail = [] if arguments[0] == "show" else ["-o", file]
        assert main(["steer", *arguments, *tail]) == 2
        captured = capsys.readouterr().err
        assert said in captured
        assert len(captured.strip().splitlines()) == 1
    assert not Path(file).exists()
