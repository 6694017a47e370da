"""The benchmark of quality in parts: shares together are the whole, and nothing is scored twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.evaluate import baseline
from voxray.evaluate.harness import Score, Task
from voxray.evaluate.sets import Line

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
