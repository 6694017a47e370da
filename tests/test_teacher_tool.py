"""`tools/teacher`, as far as it goes without the teacher's weights: mixes of voices, jobs, deadline, packing, store."""

from __future__ import annotations

import ast
import importlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voxray.train.label import read_labels
from voxray.train.store import Store

TOOL = Path(__file__).parents[1] / "tools" / "teacher"
MODULES = ("command", "packed", "model", "jobs", "speak", "store")
VOICES = [f"{a}{s}_{x}" for a in "abz" for s in "fm" for x in ("one", "two", "three")]
TEST_VOICES = ["bf_lily", "am_onyx", "zm_yunxia"]
pytestmark = pytest.mark.skipif(not TOOL.is_dir(), reason="tools/ is not in this copy")


@pytest.fixture(scope="module")
def tool() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules; their plain names are given back afterwards."""
    sys.path.insert(0, str(TOOL))
    yield {name: importlib.import_module(name) for name in MODULES}
    sys.path.remove(str(TOOL))
    for name in MODULES:
        del sys.modules[name]


class FakeModel:
    """Two frames a symbol, and a second of the clock a call."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def encode(self, ids: list[list[int]], styles: np.ndarray, speeds: np.ndarray):  # noqa: ANN201
        self.clock[0] += 1
        longest = len(ids[0])
        frames = [np.full(len(x), 2) for x in ids]
        return torch.zeros(len(ids), longest, 640), torch.zeros(len(ids), longest, 512), frames

    def decode(
        self, features: torch.Tensor, text: torch.Tensor, frames: list[np.ndarray], styles: object
    ) -> torch.Tensor:
        self.clock[0] += 1
        assert len({int(f.sum()) for f in frames}) == 1, "clips of one batch are equally long"
        return torch.full((len(frames), 600 * int(frames[0].sum())), 0.5)


def pack_voices(tool: dict[str, ModuleType], folder: Path) -> None:
    styles = {n: np.full((510, 256), i, np.float32) for i, n in enumerate(VOICES)}
    tool["packed"].write_voices(folder, styles, {"h": 1, "ˈ": 2, "I": 3})


def test_mixes_sum_to_one_and_leave_out_test_voices(tool: dict[str, ModuleType]) -> None:
    voices = tool["jobs"].Voices([*VOICES, *TEST_VOICES, "ff_siwis"], random.Random(3))
    heard = set()
    for _ in range(300):
        speaker = voices.speaker()
        for mix in (speaker.timbre, *(voices.prosody(speaker, x) for x in speaker.languages)):
            assert sum(w for _, w in mix) == pytest.approx(1, abs=1e-9)
            assert min(w for _, w in mix) > 0.03
            heard.update(name for name, _ in mix)
    assert heard == {*VOICES, "ff_siwis"}


def test_prosody_is_native(tool: dict[str, ModuleType]) -> None:
    voices = tool["jobs"].Voices([*VOICES, "ff_siwis"], random.Random(4))
    for _ in range(100):
        speaker = voices.speaker()
        for language in speaker.languages:
            first = {name[0] for name, _ in voices.prosody(speaker, language)}
            assert first <= set(tool["jobs"].NATIVE[language])
            assert len(first) == 1, "one accent"


def test_chosen_voices_speak_alone_in_their_own_language(tool: dict[str, ModuleType]) -> None:
    chosen = ["zf_one", "bm_two"]
    voices = tool["jobs"].Voices(VOICES, random.Random(6), chosen)
    found = {(s.name, s.languages, s.sex) for s in (voices.speaker() for _ in range(40))}
    assert found == {("zf_one:1", ("zh",), "f"), ("bm_two:1", ("en",), "m")}
    with pytest.raises(ValueError, match="no such voices: bf_lily"):
        tool["jobs"].Voices([*VOICES, *TEST_VOICES], random.Random(6), ["bf_lily"])


def test_jobs_have_names_of_their_own_and_clips_for_validation(
    tool: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, rng = tool["jobs"], random.Random(5)
    monkeypatch.setattr(jobs, "english_words", lambda: ["rare", "words"])
    monkeypatch.setattr(jobs, "mandarin_words", lambda: (["你好", "天气"], [1.0, 2.0]))
    texts = {"en": jobs.Texts("en", ["Who is there?", "I am."], rng)}
    texts["zh"] = jobs.Texts("zh", ["今天天气很好。", "你好。"], rng)
    found = jobs.draw(jobs.Voices(VOICES, rng), texts, 100, dev=4, seed=7)
    assert len({job["name"] for job in found}) == len(found) == 100
    assert sum(job["split"] == "dev" for job in found[:10]) == 4
    assert {job["language"] for job in found} == {"en", "zh"}


def test_one_of_two_texts_is_refused_clearly(tool: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="1 texts in en"):
        tool["jobs"].Texts("en", ["Alone."], random.Random(1))


def plan(tool: dict[str, ModuleType], folder: Path, **options: object) -> object:
    pack_voices(tool, folder)
    return tool["speak"].Plan(folder, folder / "jobs.jsonl", folder, time.time(), **options)


def spoken_jobs(count: int) -> list[dict]:
    mix = [[VOICES[0], 0.25], [VOICES[4], 0.75]]
    return [
        {"name": f"n{i}", "symbols": "hˈI" * (1 + i % 3), "style": mix, "prosody": [], "speed": 1}
        for i in range(count)
    ]


def test_workers_stop_at_the_deadline_and_their_files_agree(
    tool: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak, clock = tool["speak"], [0.0]
    given = plan(tool, tmp_path, seconds=10.0, chunk=8, encode_batch=8, batch_seconds=0.1)
    monkeypatch.setattr(speak.time, "time", lambda: given.start + clock[0])
    worker = speak.Worker(0, given, FakeModel(clock), tool["packed"].Voices(tmp_path))
    worker.run([*spoken_jobs(1000), {"name": "bad", "symbols": "?"}])
    assert 10 < clock[0] <= 11, "no batch begins after the deadline"
    lines = [json.loads(x) for x in (tmp_path / "clips.0.jsonl").read_text().splitlines()]
    assert 0 < len(lines) == worker.clips < 1000
    assert (tmp_path / "wave.0.i16").stat().st_size == 2 * sum(x["samples"] for x in lines)
    assert all(sum(x["frames"]) % given.quantum == 0 for x in lines)


def test_a_job_that_cannot_be_spoken_stops_nothing(
    tool: dict[str, ModuleType], tmp_path: Path
) -> None:
    bad = [{"name": "odd", "symbols": "日", "style": [], "prosody": [], "speed": 1}, {"name": "x"}]
    worker = tool["speak"].Worker(
        0, plan(tool, tmp_path), FakeModel([0.0]), tool["packed"].Voices(tmp_path)
    )
    worker.run([*bad, *spoken_jobs(5)])
    assert (worker.clips, worker.failed) == (5, 2)
    assert json.loads((tmp_path / "done.0.json").read_text())["clips"] == 5


def test_style_takes_timbre_and_prosody_from_two_mixes(
    tool: dict[str, ModuleType], tmp_path: Path
) -> None:
    pack_voices(tool, tmp_path)
    voices = tool["packed"].Voices(tmp_path)
    last = sorted(VOICES)[-1]
    style = voices.style("hI", [(VOICES[2], 0.5), (VOICES[4], 0.5)], [(last, 1.0)])
    assert style.shape == (256,)
    np.testing.assert_allclose(style[:128], 3.0)
    np.testing.assert_allclose(style[128:], VOICES.index(last))
    assert voices.ids("hI") == [0, 1, 3, 0]
    with pytest.raises(ValueError, match="no voice nobody"):
        voices.style("hI", [("nobody", 1.0)], [])


def test_packed_weights_come_back(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shapes = {"a.weight": (20, 30), "gen.ups.0.weight": (6, 4, 3), "l.W": (2, 8, 5), "b": (7,)}
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    tool["packed"].write_weights(
        tmp_path, weights, lambda name, value: "int8" if value.ndim > 1 else "float32", "gen.ups."
    )
    read = tool["packed"].read_weights(tmp_path)
    for name, value in weights.items():
        assert read[name].shape == value.shape
        np.testing.assert_allclose(read[name], value, atol=0.0 if name == "b" else 0.3)
        assert np.abs(read[name].numpy() - value).mean() < 0.02


def test_adaptive_norm_and_lstm_are_the_textbook_ones(tool: dict[str, ModuleType]) -> None:
    x, scale, shift = torch.randn(2, 3, 50), torch.rand(6), torch.rand(6)
    want = F.instance_norm(x) * scale.view(2, 3, 1) + shift.view(2, 3, 1)
    torch.testing.assert_close(tool["model"].adain(x, (scale, shift)), want)
    net = torch.nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    order = torch.cat([torch.arange(3) + 3 * gate for gate in (0, 3, 1, 2)])  # i o f c of i f g o
    ways = ("", "_reverse")
    onnx = {
        f"n.{part}": torch.stack([getattr(net, f"weight_{k}h_l0{w}")[order] for w in ways])
        for part, k in (("W", "i"), ("R", "h"))
    }
    onnx["n.B"] = torch.stack(
        [torch.cat([getattr(net, f"bias_{k}h_l0{w}")[order] for k in "ih"]) for w in ways]
    )
    given = torch.randn(2, 5, 4)
    ours = tool["model"].lstm(onnx, "n", torch.device("cpu"))
    torch.testing.assert_close(ours(given)[0], net(given)[0])


def write_spoken(folder: Path, names: list[str], torn: bool = False) -> Path:
    """Clips of "hi" with 20 frames of 25 ms for each of five symbols, and their jobs."""
    folder.mkdir()
    wave = 0.1 * np.sin(2 * np.pi * 150 * np.arange(100 * 600) / 24_000)
    wave = (wave * (1 + np.arange(wave.size) % 160 / 160) * 32767).astype("<i2")
    (folder / "wave.0.i16").write_bytes(wave.tobytes() * len(names))
    rows = [{"name": n, "samples": wave.size, "frames": [20] * 5} for n in names]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (folder / "clips.0.jsonl").write_text(text + ('{"name": "cut o' if torn else ""))
    known = {"language": "en", "text": "Hi", "symbols": "hˈI", "ids": [51, 20], "split": "train"}
    items = {"items": [["HH", "en"], ["AY1", "en"]], "speaker": "af_one:1"}
    jobs = folder / "jobs.jsonl"
    jobs.write_text("".join(json.dumps({"name": n, **known, **items}) + "\n" for n in names))
    return jobs


def test_store_has_waves_pitch_and_labels(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    jobs = write_spoken(tmp_path / "spoken", ["one", "two"], torn=True)
    out = tmp_path / "data"
    report = tool["store"].build(jobs, tmp_path / "spoken", out, None, 1)
    assert report["kept"] == 2 and not report["dropped"]
    store, labels = Store(out), read_labels(out)
    first, second = store.entries
    assert (first.start, first.samples) == (0, 60_480), "whole tokens"
    assert second.start == first.samples and first.synthetic
    assert store.whole("f0.f16", "float16", 240)
    assert store.wave.size == store.total
    middle = store.array("f0.f16", "float16", 240)[20:200]
    assert np.median(middle) == pytest.approx(150, rel=0.03)
    audio = store.audio(second)
    assert np.sqrt(np.square(audio[:60_000]).mean()) == pytest.approx(0.06, rel=0.05)
    assert labels["two"].ids.tolist() == [51, 20]
    assert labels["two"].spans.shape == (2, 2)
    assert labels["two"].spans[-1, 1] == second.samples // 480


def test_store_goes_behind_another(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    build = tool["store"].build
    people, more = tmp_path / "people", tmp_path / "more"
    build(write_spoken(tmp_path / "a", ["one"]), tmp_path / "a", people, None, 1)
    (people / "labels_people.jsonl").write_text("")
    (people / "f0.f16").unlink()  # found anew
    jobs = write_spoken(tmp_path / "b", ["two"])
    build(jobs, tmp_path / "b", more, people, 1)
    store = Store(more)
    assert [e.name for e in store.entries] == ["one", "two"]
    np.testing.assert_array_equal(*(store.audio(e) for e in store.entries))
    f0 = store.array("f0.f16", "float16", 240).reshape(2, -1)
    np.testing.assert_array_equal(f0[0], f0[1])
    assert set(read_labels(more)) == {"one", "two"}
    assert (more / "labels_people.jsonl").exists()
    with pytest.raises(ValueError, match="already holds a corpus"):
        build(jobs, tmp_path / "b", more, None, 1)
    with pytest.raises(ValueError, match="two is in"):
        build(jobs, tmp_path / "b", tmp_path / "third", more, 1)


@pytest.mark.parametrize("script", sorted(TOOL.glob("*.py")), ids=lambda path: path.name)
def test_scripts_keep_the_house_style(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith('"""') and len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"
