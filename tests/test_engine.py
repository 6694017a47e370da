"""The gate: hooks see everything, nothing half-written is left, wrong options say what is wrong."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray import engine
from voxray.bundle import Bundle
from voxray.engine import KEPT, Request, Stream, register, save, save_stream, tts
from voxray.synthesis import Synthesis
from voxray.voice import Voice


@pytest.fixture(autouse=True)
def no_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hooks themselves are tested here; that trust stands at the gate, in tests/trust."""
    engine._hooks.clear()
    monkeypatch.setattr(engine, "_guard", lambda: None)
    yield
    engine._hooks.clear()


def stream(tiny: Bundle, voice: Voice, text: str = "Hello there. Good bye.") -> Stream:
    return tts.stream(text, voice, model=tiny, seed=1)


def test_hooks_see_and_mark(tiny: Bundle, voice: Voice) -> None:
    seen: list[Request] = []

    def mark(made: Synthesis, request: Request) -> Synthesis:
        return replace(made, audio=np.ones_like(made.audio))

    register(before=seen.append)
    remove = register(after=mark)
    made = tts("Hello.", voice, model=tiny, seed=1)
    assert seen[0].text == "Hello." and seen[0].options.seed == 1
    assert (made.audio == 1).all()
    remove()
    assert not (tts("Hello.", voice, model=tiny, seed=1).audio == 1).all()


def test_a_hook_can_refuse(tiny: Bundle, voice: Voice) -> None:
    def refuse(request: Request) -> None:
        raise PermissionError("not this voice")

    register(before=refuse)
    with pytest.raises(PermissionError):
        tts("Hello.", voice, model=tiny)
    with pytest.raises(PermissionError):
        stream(tiny, voice)


def test_no_unmarked_audio_leaves_a_stream(tiny: Bundle, voice: Voice) -> None:
    register(after=lambda made, request: replace(made, audio=np.ones_like(made.audio)))
    assert all((chunk == 1).all() for chunk in stream(tiny, voice))


def test_a_hook_with_a_chunk_mark_streams_early(tiny: Bundle, voice: Voice) -> None:
    told: list[bool] = []

    def record(made: Synthesis, request: Request) -> Synthesis:
        told.append(request.streamed)
        return made

    register(after=record, chunk=lambda request: lambda chunk: np.full_like(chunk, 0.5))
    running = stream(tiny, voice)
    assert (next(running) == 0.5).all() and not told
    assert (running.synthesis.audio == 0.5).all()
    list(running)
    assert told == [True]


def test_saving(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    made = tts("Hello.", voice, model=tiny, seed=1)
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        save(made, tmp_path / f"x{suffix}")
        assert soundfile.info(tmp_path / f"x{suffix}").samplerate == 24_000
    for wrong in (tmp_path / "x.txt", tmp_path, tmp_path / "no" / "x.wav"):
        with pytest.raises((ValueError, OSError)):
            save(made, wrong)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_stopping_leaves_a_valid_file(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    def stop(progress: float) -> None:
        raise KeyboardInterrupt

    running = stream(tiny, voice)
    with pytest.raises(KeyboardInterrupt):
        save_stream(running, tmp_path / "x.wav", stop)
    info = soundfile.info(tmp_path / "x.wav")
    assert 0 < info.frames == len(running.synthesis.audio)
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


def test_a_failure_leaves_nothing(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    def fail(progress: float) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_stream(stream(tiny, voice), tmp_path / "x.wav", fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": "1"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"speed": 0.0}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"language": "fr"}, "language"),
        ({"volume": 3}, "unknown option 'volume'"),
    ],
)
def test_wrong_options_are_named(
    tiny: Bundle, voice: Voice, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        tts("Hello.", voice, model=tiny, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [None, 3, "", "\0", b"bytes"])
def test_wrong_texts_are_refused_before_anything_runs(
    tiny: Bundle, voice: Voice, text: object
) -> None:
    with pytest.raises(ValueError):
        tts.stream(text, voice, model=tiny)  # type: ignore[arg-type]


def test_a_model_survives_its_folder(tiny: Bundle, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    again = Bundle.load(tmp_path / "model")
    assert again.name == "tiny" and again.config == tiny.config
    weights = next((tmp_path / "model").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-7] ^= 255
    weights.write_bytes(data)
    with pytest.raises(ValueError):
        Bundle.load(tmp_path / "model")


def test_models_that_nobody_has_any_more_are_let_go(tiny: Bundle) -> None:
    made = [copy.deepcopy(tiny) for _ in range(KEPT + 2)]
    first = weakref.ref(made[0].gpt)
    opened = [tts.pipeline(one) for one in made]
    assert tts.pipeline(made[-1]) is opened[-1]  # kept
    assert tts.pipeline(made[0]) is not opened[0]  # opened anew
    for one in made[1:]:
        tts.pipeline(one)
    del made, opened, one
    gc.collect()
    assert first() is None


def test_importing_voxray_is_cheap() -> None:
    code = "import sys, voxray; assert 'torch' not in sys.modules; voxray.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)
