"""`measure`, `tune` and `compress` on the command line: what is wrong is said in one line, exit code 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxray.bundle import Bundle
from voxray.commands import main
from voxray.compress import pruning, student
from voxray.compress.ranking import Ranking
from voxray.fitting import mismatches
from voxray.voice import Voice


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
    assert "an LSTM already" in said(capsys, "compress", "prune", "mini-small", *output)
    assert "no layer 'x'" in said(capsys, "compress", "prune", "mini", "--layers", "1,x", *output)
    Ranking("effect", {(0, 0): 1.0}).save(tmp_path / "few.json")
    few = ("--ranking", tmp_path / "few.json")
    assert "of another model" in said(capsys, "compress", "prune", "mini", *few, *output)


def test_heads_are_measured_on_what_the_model_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(
        student, "SENTENCES", {"en": ("Good evening.", "Come in."), "zh": ("你好。",)}
    )
    tiny.save(tmp_path / "tiny")
    voice.save(tmp_path / "anna.safetensors")
    words = ["compress", "prune", tmp_path / "tiny", "-o", tmp_path / "small", "--share", "0.25"]
    assert main([str(word) for word in [*words, "--voice", tmp_path / "anna.safetensors"]]) == 0
    told = capsys.readouterr()
    assert "heads found" in told.err
    assert "heads gone (by effect)" in told.out
    small = Bundle.load(tmp_path / "small")
    assert pruning.share_gone(tiny.gpt, small.gpt) == pytest.approx(0.25, abs=0.15)
    assert Ranking.load(tmp_path / "small" / "ranking.json").means
    assert (small.name, small.hears_as) == ("tiny-pruned", "tiny")  # whose voices are its own, too
    assert not list(mismatches(small, small.text_pipeline(), replace(voice, model="tiny")))
    again = [
        *words[:4],
        tmp_path / "again",
        "--ranking",
        tmp_path / "small" / "ranking.json",
        "--share",
        "0.25",
    ]
    assert main([str(word) for word in again]) == 0  # what was measured once is enough
    other = Bundle.load(tmp_path / "again")
    for name, value in small.gpt.state_dict().items():
        assert torch.equal(value, other.gpt.state_dict()[name]), name


def test_a_published_model_is_not_heard_in_a_built_in_voice(tiny: Bundle) -> None:
    old = replace(tiny, config=tiny.config.model_copy(update={"version": "v2"}))
    with pytest.raises(ValueError, match="--ranking"):
        student.own_batches(old)
