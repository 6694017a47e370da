"""A corpus is prepared over Ray's workers as over one process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import speechlike
from voxray.train import clusters
from voxray.train.clusters import over_ray
from voxray.train.prepare import prepare
from voxray.train.store import Store


@pytest.fixture
def cluster() -> Iterator[str]:
    """Two workers on this machine."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(clusters.LOCAL, num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield clusters.LOCAL
    ray.shutdown()


def doubling() -> Callable[[tuple[int, str]], dict[str, Any]]:
    """Twice the number; the first who comes to 5 kills its process, as want of memory would. A function inside
    another travels whole: the workers need not find this file.
    """

    def doubled(given: tuple[int, str]) -> dict[str, Any]:
        number, marker = given
        if number == 5:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return {"number": 2 * number}

    return doubled


def test_nothing_to_do_needs_no_cluster() -> None:
    assert list(over_ray(doubling(), [])) == []


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(clusters, "import_module", absent)
    with pytest.raises(ImportError, match=r"voxray\[ray\]"):
        list(over_ray(doubling(), [(1, "")]))


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_loses_nothing(cluster: str, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    rows = over_ray(doubling(), [(n, str(marker)) for n in range(20)], cluster, block=4)
    assert [row["number"] for row in rows] == [2 * n for n in range(20)]
    assert marker.exists()


@pytest.mark.slow
def test_the_store_of_a_cluster_is_that_of_one_process(cluster: str, tmp_path: Path) -> None:
    rows = ["path\tspeaker\ttext\tsplit\tlanguage\n"]
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", speechlike(1.0 + n / 5), 16_000)
        rows.append(f"{n}.wav\ta\thello\ttrain\ten\n")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    rows.append("bad.wav\ta\thello\ttrain\ten\n")
    table = tmp_path / "people.tsv"
    table.write_text("".join(rows), encoding="utf-8")
    reports = [prepare([table], tmp_path / f"s{where}", cluster=where) for where in ("", cluster)]
    assert reports[0] == reports[1]
    assert (reports[0]["kept"], reports[0]["unreadable"]) == (4, 1)
    one, other = (Store(tmp_path / f"s{where}") for where in ("", cluster))
    assert one.entries == other.entries
    assert np.array_equal(one.wave, other.wave)
