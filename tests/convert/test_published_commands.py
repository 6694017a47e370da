"""A converted voice on the command line: languages, precision, references, a voice kept for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_round_trip import GPT, QUANTISER, V2, Ears, files, written

from voxray.commands import main
from voxray.convert import presets
from voxray.pretrained import Pretrained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small converted voice; the encoders are stand-ins."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "GPT", GPT)
        patch.setattr(presets, "QUANTISER", QUANTISER)
        patch.setitem(presets.GENERATORS, "v2", V2)
        patch.setattr(Pretrained, "has", Ears.has)
        patch.setattr(Pretrained, "features", Ears.features)
        patch.setenv("VOXRAY_HOME", str(folder / "home"))
        speech, sound = files(folder)
        assert main(["convert", str(speech), str(sound), "-o", str(folder / "voice")]) == 0
        yield str(folder / "voice")


def test_say_with_a_published_model(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    me, extra = (str(written(tmp_path / f"{n}.wav", s)) for n, s in (("me", 4.0), ("more", 5.0)))
    out = tmp_path / "out.wav"
    said = ["say", "Hello there.", "--model", model, "--voice", me, "-o", str(out)]
    for more in (["--lang", "en"], ["--precision", "float32"], ["--reference", extra]):
        assert main([*said, *more, "--seed", "1"]) == 0, capsys.readouterr().err
        assert out.stat().st_size > 1000


def test_what_is_wrong_is_one_line(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    me = str(written(tmp_path / "me.wav", 4.0))
    for arguments, wanted in (
        (["--lang", "fr"], "language"),
        (["--precision", "half"], "choose float32, fast, int8"),
        (["--voice", str(written(tmp_path / "short.wav", 1.5))], "need 3-10 s"),
    ):
        code = main(["say", "Hello.", "--model", model, "--voice", me, *arguments])
        error = capsys.readouterr().err
        assert code == 2 and wanted in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "language"), [("안녕하세요", "en"), ("안녕하세요", "zh"), ("ほん", "en")]
)
def test_a_text_that_a_language_does_not_hold_is_refused(
    model: str, tmp_path: Path, text: str, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    me, out = str(written(tmp_path / "me.wav", 4.0)), tmp_path / "out.wav"
    said = ["say", text, "--model", model, "--voice", me, "--lang", language, "-o", str(out)]
    assert main(said) == 2 and not out.exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no words that this model can read" in error and f"'{language}'" in error


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_reference_of_another_length_costs_one_line(
    model: str, tmp_path: Path, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    me = str(written(tmp_path / "me.wav", seconds))
    assert main(["say", "Hello.", "--model", model, "--voice", me]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and f"{seconds:.2f} s long; need 3-10 s" in error[0]


def test_a_voice_is_made_once(model: str, tmp_path: Path) -> None:
    me, out = written(tmp_path / "me.wav", 4.0), tmp_path / "me.safetensors"
    made = ["voice", "make", "me", str(me), "--model", model, "-o", str(out)]
    assert main([*made, "--transcript", "Some words."]) == 0
    me.unlink()
    said = ["say", "Hello.", "--model", model, "--voice", str(out), "-o", str(tmp_path / "o.wav")]
    assert main(said) == 0
