"""The benchmark of quality in parts: shares together are the whole, and nothing is scored twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray import audio
from voxray.bundle import Bundle
from voxray.evaluate import baseline, report, rows
from voxray.evaluate.harness import Score, Task
from voxray.evaluate.sets import Clip, Line, Reference

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no benchmarks/ beside these tests")
TASKS = [
    Task("built-in", Line(f"t{i}", "Hi.", "en"), "v", seed=s) for i in range(5) for s in (0, 1)
]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import quality_parts  # type: ignore[import-not-found]

    return quality_parts


def _score(task: Task) -> Score:
    none: dict[str, float] = {}
    return Score(
        task.row, task.line.id, "sentence", "en", "v", task.seed, "Hi.", "hi", 0, 1, 0, 0, 0, 0, 0, [],
        none, none, none, {}, 3.0, 1.0, 0.1,
    )  # fmt: skip


def test_shares_are_the_whole_and_the_done_is_left_out(parts: ModuleType, tmp_path: Path) -> None:
    halves = [list(parts.part_of(f"{k}/2", []).left(TASKS)) for k in (0, 1)]
    assert sorted(map(id, halves[0] + halves[1])) == sorted(map(id, TASKS))
    baseline.append(tmp_path / "scores.0.jsonl", map(_score, halves[0][:3]))
    baseline.append(tmp_path / "scores.1.jsonl", map(_score, halves[1]))
    baseline.append(tmp_path / "scores.1.jsonl", [replace(_score(halves[1][0]), heard="ha")])
    kept = parts.kept_scores(tmp_path)
    assert len(kept) == 3 + len(halves[1])  # the newest of each clip
    assert sum(score.heard == "ha" for score in kept) == 1
    assert list(parts.part_of("0/1", kept).left(TASKS)) == halves[0][3:]
    assert parts.kept_scores(None) == []


@pytest.mark.parametrize("share", ["2/2", "1", "a/b", "-1/2"])
def test_a_wrong_share_is_named(parts: ModuleType, share: str) -> None:
    with pytest.raises(ValueError, match="NUMBER/OF"):
        parts.part_of(share, [])


def test_the_decoders_rung_is_as_long_and_as_loud_as_the_recording(
    tiny: Bundle, remembering: Bundle
) -> None:
    wave = 0.3 * speechlike(2.0).astype(np.float32)
    voice = torch.zeros(256)
    made, rate = remembering.reconstruct(wave, voice)
    assert rate == 24_000 and len(made) == 48_000 and np.isfinite(made).all()
    twice, _ = remembering.reconstruct(2 * wave, voice)
    assert np.allclose(twice, 2 * made, atol=1e-3 * np.abs(twice).max())
    with pytest.raises(ValueError, match="no latents"):
        tiny.reconstruct(wave, voice)


def test_speakers_own_clips_are_judged_from_short_to_long_and_once(
    parts: ModuleType, tmp_path: Path
) -> None:
    clips = []
    for i in range(10):
        path, speaker = tmp_path / f"c{i}.wav", "two" if i == 9 else "one"
        audio.write_audio(path, speechlike(0.5), 16_000)
        clips.append(Clip(path, "teacher", speaker, "en", 1.0 + i, text="Hi."))
    reference = Reference("teacher", "one", "en", "f", clips[8], (clips[0],))
    takes = list(rows.own_speech({"voice": reference}, clips, 4))
    assert [take.task.line.id for take in takes] == ["one-c0", "one-c2", "one-c4", "one-c6"]
    assert all(take.task.reference is reference for take in takes)
    halves = [list(parts.part_of(f"{k}/2", []).left_of(takes)) for k in (0, 1)]
    assert [[take.task for take in half] for half in halves] == [
        [take.task for take in takes[k::2]] for k in (0, 1)
    ]


def test_likeness_is_told_by_length() -> None:
    def said(row: str, seconds: float, similarity: float) -> Score:
        like = dict.fromkeys(report.JUDGES, similarity)
        own, other = (dict.fromkeys(report.JUDGES, x) for x in (0.8, 0.3))
        task = Task(row, Line(f"t{seconds}", "Hi.", "en"), "v")
        facts = {"similarity": like, "own": own, "impostor": other, "seconds": seconds}
        return replace(_score(task), identified=dict.fromkeys(report.JUDGES, True), **facts)

    made = [said("built-in", 1.0, 0.4), said("built-in", 12.0, 0.7), said("own speech", 1.1, 0.55)]
    lines = report.likeness_by_length(made).splitlines()[2:]
    assert [line.split("|")[1:5] for line in lines] == [
        [" built-in ", " en ", " 0 to 1.2 ", " 1 "],
        [" built-in ", " en ", " 9 and more ", " 1 "],
        [" own speech ", " en ", " 0 to 1.2 ", " 1 "],
    ]
    assert [line.split("|")[5].split()[0] for line in lines] == ["0.20", "0.80", "0.50"]
