"""Claims are decided by the rule that is written down, and figures of a broken-off run are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import claims  # noqa: E402
from explain_plan import Results, Row  # noqa: E402

import explain as benchmark  # noqa: E402
from voxray.explain.statistics import Interval  # noqa: E402

CLAIM = claims.CLAIMS[0]  # none 0.5, least 0.6


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.8, 0.65, 0.9, "confirmed"),
        (0.62, 0.52, 0.7, "confirmed"),
        (0.7, 0.45, 0.9, "undecided"),  # chance is not excluded
        (0.57, 0.52, 0.65, "undecided"),  # more than chance, but not worth it, nor excluded
        (0.5, 0.45, 0.55, "refuted"),
    ],
)
def test_the_rule(value: float, low: float, high: float, said: str) -> None:
    figure = {"value": value, "low": low, "high": high, "count": 20}
    assert claims.verdict([figure], CLAIM) == said
    assert claims.verdict([], CLAIM) == "undecided"


def test_both_figures_must_hold() -> None:
    both = next(claim for claim in claims.CLAIMS if len(claim.figures) == 2)
    good = {"value": 0.9, "low": 0.8, "high": 0.95, "count": 9}
    bad = {"value": 0.1, "low": 0.0, "high": 0.2, "count": 9}
    assert claims.verdict([good, good], both) == "confirmed"
    assert claims.verdict([good, bad], both) == "refuted"
    assert claims.verdict([good], both) == "undecided"


def test_the_document_is_filled_and_the_rest_stays() -> None:
    text = claims.DOC.read_text("utf-8")
    row = {"name": CLAIM.figures[0], "note": "head 1.2",
           "figure": {"value": 0.8, "low": 0.7, "high": 0.9, "count": 20}}  # fmt: skip
    data = {"weights": "abc", "quick": False, "found": {"roles": {"rows": [row]}}}
    made = claims.filled(text, data)
    assert "| confirmed | 0.8 [0.7, 0.9], n = 20; head 1.2" in made
    assert "Weights measured: abc." in made
    assert len(made.splitlines()) == len(text.splitlines())
    quick = claims.filled(text, data | {"quick": True})
    others = tuple(f"| {claim.start}" for claim in claims.OTHERS)  # filled from runs of their own
    rows = [line for line in quick.splitlines() if not line.startswith(others)]
    assert not any("| confirmed |" in line for line in rows)
    assert "quick run" in quick


def test_every_claim_names_a_row_that_is_measured() -> None:
    names = benchmark.functions()
    assert {claim.rows for claim in claims.CLAIMS} <= set(names)
    with pytest.raises(ValueError, match="no row named 'rolls'; there are"):
        benchmark.chosen("rolls")


def test_figures_are_kept_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    first = Results("abc", False, path, ["one", "two"])
    first.add("two", [Row("figure", Interval(1.0, 0.5, 1.5, 50), ">= 1", True)], 2.0)
    again = Results("abc", False, path, ["one", "two"])
    assert again.rows == first.rows and "one" not in again.found
    with pytest.raises(ValueError, match="other weights"):
        Results("other", False, path, ["one", "two"])
    path.write_text(json.dumps({"x": 1}))
    with pytest.raises(ValueError, match="holds no figures"):
        Results("abc", False, path, ["one", "two"])
