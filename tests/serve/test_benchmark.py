"""The benchmark of the service: its parts are chosen, measured and written one by one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no benchmarks/ beside these tests")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("serve", "serve_server", "quality"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import serve  # type: ignore[import-not-found]

    return serve


class Parrot:
    """A server that says the same of a request, unless told to err."""

    def __init__(self, bench: ModuleType, wrong: int = 0, refused: int = 0) -> None:
        self._make = sys.modules["serve_server"].Answer
        self._wrong, self._refused = wrong, refused
        self.answered: list[int] = []
        self.size = 100e6

    def asked_again(self, which: tuple[str, str]) -> Any:
        self.answered.append(1)
        count = len(self.answered)
        random = np.random.default_rng(len(which[0]) * 100 + len(which[1]))
        sound = random.integers(-9000, 9000, 500).astype(np.int16)
        if 6 < count <= 6 + self._wrong:
            sound = sound[::-1]
        status = 503 if 6 < count - self._wrong <= 6 + self._refused else 200
        return self._make(which, status, sound if status == 200 else sound[:0], 0.1, 1.0)

    def memory(self) -> float:
        self.size += 1e6
        return self.size


def test_parts_are_chosen(bench: ModuleType) -> None:
    assert bench.checked("load, kill") == ("load", "kill")
    for wrong in ("loud", "", "load,x"):
        with pytest.raises(bench.typer.BadParameter, match="choose from load, mixed, soak, kill"):
            bench.checked(wrong)


def test_a_voice_of_another_is_noticed(bench: ModuleType) -> None:
    run = bench.Run(requests=30)
    assert bench.mixed(run, Parrot(bench))["mixed-up responses"] == 0
    found = bench.mixed(run, Parrot(bench, wrong=3, refused=2))
    assert found["requests in parallel"] == 30
    assert (found["mixed-up responses"], found[bench.REFUSED]) == (3, 2)


def test_growth_is_counted_from_after_the_warming_up(bench: ModuleType) -> None:
    run = bench.Run(minutes=0.02, pace=0.01)
    found = bench.soak(run, Parrot(bench))
    assert [mb for _, _, mb in run.curve] == [101.0 + n for n in range(11)]
    assert found["memory after warming up [MB]"] == 102.0
    assert found["growth of memory in the soak [%]"] == pytest.approx(100 * (111 / 102 - 1))
    assert found["growth, medians of a tenth [%]"] == pytest.approx(100 * (110.5 / 102.5 - 1))
    assert found["requests"] >= 1 and found[bench.REFUSED] == 0
    assert bench.course(run.curve).count(",") == 10


def test_the_soak_asks_for_known_texts_and_for_some_of_all_lengths(bench: ModuleType) -> None:
    turns = [bench.soaking(turn) for turn in range(120)]
    assert {*turns[::2]} == {*bench.asked()}
    assert {len(text.split()) for _, text in turns[1::2]} == {
        *range(3, len(bench.PASSAGE.split()) + 1)
    }
    assert len({voice for voice, _ in turns[1::2]}) == 3


def test_moments(bench: ModuleType) -> None:
    assert list(bench.moments(1800)) == [30.0 * n for n in range(61)]
    assert list(bench.moments(30)) == [3.0 * n for n in range(11)]


def test_a_run_leaves_the_other_parts_as_they_were(bench: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "serve.md"
    load = bench.table({"throughput, 8 clients / one": 1.5, "first audio [s]": 0.2})
    assert "| 1.5 | >= 2 | **no** |" in load
    first = {bench.PARTS["load"]: load, bench.PARTS["kill"]: bench.table({"x": 1})}
    page.write_text(bench.renewed(page, {"date": "then"}, first), encoding="utf-8")
    soak = {bench.PARTS["soak"]: bench.table({"growth of memory in the soak [%]": 1.0})}
    page.write_text(bench.renewed(page, {"date": "now"}, soak), encoding="utf-8")
    told = page.read_text(encoding="utf-8")
    assert load in told and told.count("then") == 2 and told.count("now") == 1
    order = [told.index(f"## {bench.PARTS[name]}") for name in ("load", "soak", "kill")]
    assert order == sorted(order) and "| 1 | <= 5 | yes |" in told
    assert bench.renewed(page, {}, {}) == told
    assert bench.sizing({"sound a second, 8 clients [s]": 10.0}).splitlines()[-1] == "| 200 | 29 |"
