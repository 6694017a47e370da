"""The fast part of the exam; `benchmarks/exam.py` sits all of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sitting import SITTINGS


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SITTINGS))
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_causes_are_ranked_first(name: str, seed: int) -> None:
    for mark in SITTINGS[name](seed, True):
        assert mark.right, mark
        assert mark.named, mark


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SITTINGS))
def test_twins_raise_no_alarm(name: str) -> None:
    for mark in SITTINGS[name](0, False):
        assert not mark.named, mark
