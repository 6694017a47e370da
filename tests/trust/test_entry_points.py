"""Every way to get speech out of voxray, listed; in each the mark and the record are found.

First the source is read: whatever makes samples is called by the engine alone, so that a new entry
point must go through it. Then each way that there is today is gone, with the tiny model.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import say

from conftest import speechlike
from voxray import audio, engine
from voxray.bundle import Bundle
from voxray.commands import main
from voxray.engine import save, tts
from voxray.trust import policy, records
from voxray.trust.policy import Policy
from voxray.voice import Voice

pytestmark = pytest.mark.usefixtures("records_folder")

SOURCE = Path(__file__).parents[2] / "src" / "voxray"
MAKES_SAMPLES = {"synthesise", "PieceDecoder", "AudioStream", "speak_many"}
MAY = {
    "job.py",  # what a pipeline does with one request
    "joining.py",  # defines it
    "pipeline.py",
    "article/pipeline.py",  # the same for the textbook model; the engine opens it
    "engine.py",
    "explain/replay.py",  # measures a passage again, with edits; hands no audio out
    "explain/tracing.py",
    "batching.py",  # many texts side by side, for `tts.many`
    "steer/concepts.py",  # measure tokens and states; hand no audio out
    "steer/repetition.py",
}
HEARS = "Hello there, this is a sentence of some length. And here is another."


def names_used(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called}


def test_only_the_engine_calls_what_makes_samples() -> None:
    for path in SOURCE.rglob("*.py"):
        where = path.relative_to(SOURCE).as_posix()
        used = names_used(path) & MAKES_SAMPLES
        assert not used or where in MAY, f"{where} uses {used}: go through engine.tts"


def test_the_engine_speaks_only_behind_the_gate() -> None:
    """In the engine every function that runs a pipeline calls `_before` and leads to `_after`."""
    tree = ast.parse((SOURCE / "engine.py").read_text(encoding="utf-8"))
    speaker = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Speaker")
    for function in speaker.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = {ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call)}
        if calls & {"pipeline.synthesise", "pipeline.convert", "pipeline.stream", "speak_many"}:
            assert calls & {"_before", "self._request"}, function.name
            assert calls & {"_after", "Stream"}, function.name
    request = next(n for n in speaker.body if getattr(n, "name", "") == "_request")
    assert "_before(request)" in ast.unparse(request)


@pytest.fixture
def world(tmp_path: Path, tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny system in the place of the built-in one, and a voice file."""
    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda: tiny))
    monkeypatch.setattr(engine.tts, "_pipelines", {})
    monkeypatch.setenv("VOXRAY_HOME", "")
    monkeypatch.chdir(tmp_path)
    voice.save(tmp_path / "v.safetensors")
    return tmp_path


def by_call(folder: Path) -> np.ndarray:
    return tts(HEARS, "v.safetensors", seed=1).audio


def by_stream(folder: Path) -> np.ndarray:
    return np.concatenate(list(tts.stream(HEARS, "v.safetensors", seed=1)))


def by_many(folder: Path) -> np.ndarray:
    return tts.many([HEARS], "v.safetensors", seed=1)[0].audio


def by_conversion(folder: Path) -> np.ndarray:
    audio.write_audio(folder / "r.wav", speechlike(4.0), 16_000)
    return tts.convert(folder / "r.wav", "v.safetensors", seed=1).audio


def by_save(folder: Path) -> np.ndarray:
    save(tts(HEARS, "v.safetensors", seed=1), folder / "s.wav")
    return audio.read_audio(folder / "s.wav")[0]


def by_say(folder: Path) -> np.ndarray:
    assert main(["say", HEARS, "-v", "v.safetensors", "--seed", "1", "-o", "c.wav"]) == 0
    return audio.read_audio("c.wav")[0]


def by_convert_voice(folder: Path) -> np.ndarray:
    audio.write_audio(folder / "r.wav", speechlike(4.0), 16_000)
    assert (
        main(["convert-voice", "r.wav", "-v", "v.safetensors", "--seed", "1", "-o", "d.wav"]) == 0
    )
    return audio.read_audio("d.wav")[0]


def by_harness(folder: Path) -> np.ndarray:
    from voxray.evaluate.harness import Task, engine_speak
    from voxray.evaluate.sets import Line

    line = Line("x", HEARS, "en", "sentence")
    return engine_speak(Task("row", line, Voice.load("v.safetensors"), seed=1)).wave


def by_measure(folder: Path) -> np.ndarray:
    from voxray.evaluate.measure import Item, engine_system

    audio.write_audio(folder / "r.wav", speechlike(4.0), 16_000)
    item = Item("x", "", folder / "r.wav", HEARS)
    engine_system()(item, 1, folder / "m.flac")
    return audio.read_audio(folder / "m.flac")[0]


def by_page(folder: Path) -> np.ndarray:
    from voxray.explain.page import audio_uri

    kind, data = audio_uri(tts(HEARS, "v.safetensors", seed=1)).split(",", 1)
    (folder / "p.mp3").write_bytes(base64.b64decode(data))
    return audio.read_audio(folder / "p.mp3")[0]


def by_tuning(folder: Path) -> np.ndarray:
    """The samples that `voxray tune` listens to."""
    from voxray.evaluate.fewshot import RATE, Listener, Said

    listener = object.__new__(Listener)  # its judges and its store of recordings play no part
    listener.seed, listener.reference = 1, speechlike(4.0, RATE)
    return listener.speak(Bundle.builtin(), Said(HEARS, "en")).audio


def by_service(folder: Path) -> np.ndarray:
    testing = pytest.importorskip("fastapi.testclient")
    from voxray.serve import Settings, create_app
    from voxray.trust import access

    settings = Settings(voices=folder / "voices", hosts=("testserver",))
    key, _ = access.make_key("test", scopes=("speak",))
    asked = {"input": HEARS, "voice": "nova", "response_format": "pcm", "seed": 1}
    with testing.TestClient(create_app(settings, {"tiny": Bundle.builtin()})) as client:
        told = client.post(
            "/v1/audio/speech", json=asked, headers={"Authorization": f"Bearer {key}"}
        )
    assert told.status_code == 200, told.text
    return np.frombuffer(told.content, "<i2").astype(np.float32) / 32_768


def by_studio(folder: Path) -> np.ndarray:
    from voxray.studio.actions import Asked, Studio, finished, speak
    from voxray.studio.settings import Settings

    studio = Studio(Settings(home=folder / "home"))
    try:
        take = finished(speak(studio, Asked(HEARS, "nova", seed=1)))
        return audio.read_audio(studio.shelf.file(take.id, "wav"))[0]
    finally:
        studio.shelf.close()


WAYS: tuple[Callable[[Path], np.ndarray], ...] = (
    by_call, by_stream, by_many, by_conversion, by_save, by_say, by_convert_voice, by_harness,
    by_measure, by_page, by_tuning, by_service, by_studio,
)  # fmt: skip


def likeness(marked: np.ndarray, plain: np.ndarray) -> float:
    count = min(len(marked), len(plain))
    return float(np.corrcoef(marked[:count], plain[:count])[0, 1])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_mark_and_record(
    way: Callable[[Path], np.ndarray], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out differs from the unmarked speech just as the record's number says."""
    from voxray.trust import gate, identity
    from voxray.trust.watermark.embed import embed
    from voxray.trust.watermark.pattern import pattern

    policy.save(Policy(watermark=False, credentials="off"))
    plain = way(world)
    policy.save(Policy(credentials="off"))
    for file in world.glob("*.wav"):
        file.unlink()
    before = {item.number for item in records.latest(100)}
    marked = way(world)
    fresh = [item for item in records.latest(100) if item.number not in before]
    assert len(fresh) == 1 and fresh[0].state == "done", "one record for one synthesis"
    rate = 16_000 if way is by_harness else 24_000
    shape = pattern(identity.mark_key())
    numbers = [fresh[0].number, *range(5)]
    found = [likeness(marked - plain, embed(plain, rate, shape.carrying(n)) - plain)
             for n in numbers]  # fmt: skip
    assert found[0] > 1.3 * max(found[1:]), found
    assert found[0] > 0.9 or way is by_page, found  # the page's mp3 adds a noise of its own
    assert gate.before in [hook.before for hook in engine.hooks()]


def test_every_command_that_writes_sound_is_listed() -> None:
    """A new command that speaks belongs in `WAYS`."""
    speaking = set()
    for path in (SOURCE / "commands").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"\btts(\.stream|\.convert)?\(", text):
            speaking.add(path.stem)
    assert speaking <= {"say", "convert_voice"}, f"add to WAYS: {speaking}"


def test_taking_the_hooks_away_does_not_open_the_gate(tiny: Bundle, voice: Voice) -> None:
    engine._hooks.clear()
    assert say(tiny, voice).record


def test_a_process_that_only_imports_the_engine_is_guarded(tmp_path: Path) -> None:
    """`_before` calls for trust by name; without the package the engine cannot speak."""
    tree = ast.parse((SOURCE / "engine.py").read_text(encoding="utf-8"))
    before = next(n for n in tree.body if getattr(n, "name", "") == "_before")
    assert ast.unparse(before.body[0]) == "_guard()"
