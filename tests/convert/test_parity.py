"""The recorded cases of the published models, by the benchmark that anyone can run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer

import recorded

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@recorded.needed
@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_recorded_case_is_within_tolerance(tmp_path: Path, quick: bool) -> None:
    from parity import main

    table = tmp_path / "parity.json"
    main(recorded.FOLDER, quick=quick, containers=recorded.FOLDER / "containers", json_out=table)
    rows = json.loads(table.read_text())
    assert len({row["case"] for row in rows}) >= (2 if quick else 47)
    assert all(row["passed"] for row in rows)


def test_a_miss_is_a_miss(tmp_path: Path) -> None:
    import numpy as np
    from parity import compared, main

    wave = np.sin(np.arange(100, dtype=np.float32))
    assert compared("case", "wave", wave + 1e-6, wave).passed
    assert not compared("case", "wave", wave + 1e-3, wave).passed
    assert not compared("case", "tokens", [1, 2, 4], np.array([1, 2, 3])).passed
    assert not compared("case", "wave", wave[:50], wave).passed
    with pytest.raises(typer.Exit) as ended:
        main(tmp_path)
    assert ended.value.exit_code == 2
