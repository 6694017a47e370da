"""The command line: what it writes, and one line and exit code 2 for everything that is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.commands import main
from voxray.voice import Voice

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Bundle, voice: Voice) -> Path:
    """The tiny system in the place of the built-in one, an empty home, a voice file."""
    monkeypatch.setenv("VOXRAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda: tiny))
    monkeypatch.chdir(tmp_path)
    voice.save(tmp_path / "v.safetensors")
    return tmp_path


def run(*arguments: str) -> int:
    return main(arguments)


def test_say_writes_speech_subtitles_and_a_record(capsys: Said, home: Path) -> None:
    assert run("say", "Hello there.", "--voice", "v.safetensors", "--seed", "1", "-o", "x.flac",
               "--json", "--srt") == 0  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    assert record["seed"] == 1 and record["complete"] and record["model"] == "tiny"
    assert [word["text"] for word in record["words"]] == ["Hello", "there"]
    assert soundfile.info("x.flac").duration == pytest.approx(record["seconds"], abs=0.01)
    assert Path("x.srt").read_text(encoding="utf-8").endswith("Hello there.\n")


def test_say_reads_a_file(capsys: Said, home: Path) -> None:
    Path("t.txt").write_text("Good day.\n\n下雨了。", encoding="utf-8")
    assert run("say", "-f", "t.txt", "-v", "v.safetensors") == 0
    assert "seed" in capsys.readouterr().out and Path("out.wav").is_file()


@pytest.mark.parametrize(("given", "asked"), [([], None), (["--takes", "1"], 1)])
def test_takes_are_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], asked: int | None
) -> None:
    from voxray import engine

    seen: list[dict[str, object]] = []
    real = engine.tts.stream
    monkeypatch.setattr(
        engine.tts, "stream", lambda *a, **options: seen.append(options) or real(*a, **options)
    )
    assert run("say", "Good day.", "-v", "v.safetensors", *given) == 0
    assert seen[0].get("takes") == asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("say",),
        ("say", "Hello", "--takes", "0"),
        ("say", ""),
        ("say", "  "),
        ("say", "😀"),
        ("say", "привет"),
        ("say", "……！"),
        ("say", "-f", "nul.txt"),
        ("say", "-f", "latin1.txt"),
        ("say", "Hello", "-f", "t.txt"),
        ("say", "-f", "none.txt"),
        ("say", "-f", "."),
        ("say", "a" * 100_000),
        ("say", "Hello", "--voice", "nobody"),
        ("say", "Hello", "--voice", "."),
        ("say", "Hello", "--voice", "picture.jpg"),
        ("say", "Hello", "--voice", "damaged.safetensors"),
        ("say", "Hello", "--voice", "cut.wav"),
        ("say", "Hello", "--voice", "nan.wav"),
        ("say", "Hello", "--voice", "one.wav"),
        ("say", "Hello", "--voice", "silence.wav"),
        ("say", "Hello", "--seed", "x"),
        ("say", "Hello", "--seed", "-4"),
        ("say", "Hello", "--speed", "0"),
        ("say", "Hello", "--lang", "fr"),
        ("say", "Hello", "-o", "no/such/folder/x.wav"),
        ("say", "Hello", "-o", "x.txt"),
        ("say", "Hello", "-o", "."),
        ("say", "Hello", "--lexicon", "picture.jpg"),
        ("say", "Hello", "--model", "damaged"),
        ("say", "Hello", "--model", "no-model"),
        ("say", "Hello", "--nonsense"),
        ("convert-voice", "none.wav", "--voice", "v.safetensors"),
        ("voice", "make", "../evil", "none.wav"),
        ("voice", "make", "me", "none.wav"),
        ("voice", "show", "nobody"),
        ("voice", "delete", "nobody"),
        ("data", "prepare", "none.tsv", "-o", "store"),
        ("train", "gpt", "none", "-o", "run"),
        ("train", "nonsense", "none", "-o", "run"),
        ("nonsense",),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: Said, home: Path, arguments: tuple[str, ...]
) -> None:
    _write_bad_files()
    if "--voice" not in arguments and arguments[0] == "say":
        arguments = (*arguments, "--voice", "v.safetensors")
    before = {path for path in home.rglob("*") if path.is_file()}
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("voxray: ") and said.err.count("\n") == 1, said.err
    assert not said.out
    assert {path for path in home.rglob("*") if path.is_file()} == before


def _write_bad_files() -> None:
    Path("picture.jpg").write_bytes(b"\xff\xd8\xff\xe0 JPEG")
    Path("damaged.safetensors").write_bytes(b"nonsense")
    Path("nul.txt").write_text("Hello\0there", encoding="utf-8")
    Path("latin1.txt").write_bytes("café".encode("latin-1"))
    wave = speechlike(4.0)
    soundfile.write("cut.wav", wave, 16_000)
    Path("cut.wav").write_bytes(Path("cut.wav").read_bytes()[:40_000])
    wave[100] = np.nan
    soundfile.write("nan.wav", wave, 16_000, subtype="FLOAT")
    soundfile.write("one.wav", wave[:1], 16_000)
    soundfile.write("silence.wav", 0 * np.ones(64_000), 16_000)
    Path("damaged").mkdir()
    Path("damaged", "config.json").write_text('{"format_version": 1}', encoding="utf-8")
    Path("damaged", "weights.safetensors").write_bytes(b"nonsense")


@pytest.mark.slow
@pytest.mark.chosen
def test_a_real_ctrl_c_leaves_a_valid_file(home: Path, tiny: Bundle) -> None:
    """The process is told to stop while it speaks a long text."""
    tiny.save(home / "model")
    Path("long.txt").write_text("One two three four five six. " * 400, encoding="utf-8")
    command = [sys.executable, "-m", "voxray", "say", "-f", "long.txt", "--model", "model"]
    ours = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a child of a shell's background job inherits deafness
    try:
        job = subprocess.Popen([*command, "-v", "v.safetensors", "-o", "long.wav"])
    finally:
        signal.signal(signal.SIGINT, ours)
    try:
        until = time.monotonic() + 300
        while not any(p.stat().st_size > 100_000 for p in home.glob(".long.*.part")):
            assert job.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        job.send_signal(signal.SIGINT)
        assert job.wait(300) == 130
    finally:
        job.kill()
    assert soundfile.info("long.wav").frames > 50_000 - 22
    assert not list(home.glob(".long.*.part"))


def test_ctrl_c_leaves_a_valid_file(
    capsys: Said, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxray.audio import AudioWriter

    write = AudioWriter.write

    def interrupted(self: AudioWriter, wave: object) -> None:
        write(self, wave)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(AudioWriter, "write", interrupted)
    assert run("say", "One two three. Four five six.", "-v", "v.safetensors") == 130
    assert soundfile.info("out.wav").frames > 0
    assert "stopped early" in capsys.readouterr().out


def test_a_voice_of_ones_own(capsys: Said, home: Path, recording: Path) -> None:
    assert run("voice", "make", "me", str(recording), "--card", "That's me.") == 0
    assert run("voices") == 0
    assert "That's me." in capsys.readouterr().out
    assert run("voice", "show", "me") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "me"
    assert run("say", "Hello.", "--voice", "me") == 0
    assert run("convert-voice", str(recording), "--voice", "me", "-o", "c.wav") == 0
    assert soundfile.info("c.wav").duration == pytest.approx(4.0, abs=0.1)
    assert run("voice", "delete", "me") == 0
    assert not list((home / "home" / "voices").iterdir())


def test_the_recording_is_not_overwritten(home: Path, recording: Path) -> None:
    before = recording.read_bytes()
    assert run("say", "Hello.", "--voice", str(recording), "-o", str(recording)) == 2
    assert recording.read_bytes() == before


def test_info_and_text(capsys: Said, home: Path) -> None:
    assert run("info") == 0
    assert "tiny" in capsys.readouterr().out
    assert run("text", "show", "Hello") == 0
    assert "HH" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["", "say", "voices", "voice", "voice make", "info",
                                     "convert-voice", "text", "data", "train"])  # fmt: skip
def test_help_fits_eighty_columns(capsys: Said, home: Path, command: str) -> None:
    assert run(*command.split(), "--help") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
