"""Critical paths: the planted road is at the top, curves beat random edges, files are what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants

from voxray.explain.paths import Paths, critical_paths, shared_edges


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
