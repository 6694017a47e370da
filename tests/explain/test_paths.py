"""Critical paths: the planted road is at the top, curves beat random edges, files are what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants

from voxray.explain.paths import Paths, _apart, critical_paths, shared_edges


@pytest.fixture(scope="module")
def case() -> plants.Planted:
    return plants.chain(0)


@pytest.fixture(scope="module")
def paths(case: plants.Planted) -> Paths:
    return critical_paths(case.speech, "pitch")


def test_the_planted_road_carries_the_pitch(case: plants.Planted, paths: Paths) -> None:
    head = f"head {case.truth['head']}"
    gpt = [edge for edge in paths.edges if edge.sink in (head, "tokens") and "head" in edge.name]
    assert gpt[0].name in (f"text -> {head}", f"{head} -> tokens")
    assert paths.edges[0].effects["pitch"] > 0.1
    names = [edge.name for edge in paths.edges[:6]]
    assert "tokens -> codes" in names
    assert "codes -> direct path" in names


def test_removing_ranked_edges_hurts_more_than_random_ones(paths: Paths) -> None:
    assert paths.faithful
    assert len(paths.remove) == len(paths.keep_only)
    assert paths.remove[-1].edges <= len(paths.edges)


def test_saved_and_drawn(paths: Paths, tmp_path: Path) -> None:
    for name in ("paths.json", "paths.svg"):
        paths.save(tmp_path / name)
    data = json.loads((tmp_path / "paths.json").read_text(encoding="utf-8"))
    assert data["target"] == "pitch"
    assert len(data["edges"]) == len(paths.edges)
    assert "<svg" in (tmp_path / "paths.svg").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="json, .svg or .png"):
        paths.save(tmp_path / "paths.txt")
    assert shared_edges([paths, paths])[0][0] == paths.edges[0].name


def test_unknown_targets(case: plants.Planted) -> None:
    with pytest.raises(ValueError, match="pitch, timbre, duration, words"):
        critical_paths(case.speech, "colour")


def test_what_is_gone_counts_as_lost_not_as_unchanged() -> None:
    clean = np.array([10.0, 14.0, np.nan])
    gone = np.array([10.0, np.nan, 3.0])
    assert _apart(clean, clean, 12.0) == 0.0
    assert _apart(clean, gone, 12.0) == pytest.approx(12.0 / 2**0.5)
    assert _apart(clean, gone) == pytest.approx(2.0 / 2**0.5)  # as if it had the mean
    assert _apart(np.full(2, np.nan), gone[:2], 12.0) == 0.0
