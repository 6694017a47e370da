"""Memory goes back to the system, and nothing that is still needed with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from voxray.heap import drop_pages, trim

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone")


def resident(kind: str) -> int:
    """Bytes of this process that lie in memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if kind in line)


def test_pages_of_a_mapped_file_are_dropped_and_read_again(tmp_path: Path) -> None:
    weight = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(0))  # 16 MB
    save_file({"other": weight + 1, "weight": weight}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        other, mapped = file.get_tensor("other"), file.get_tensor("weight")
    assert torch.equal(mapped, weight)
    before = resident("RssFile")
    if drop_pages(mapped):  # where safetensors copies there is nothing to drop
        assert before - resident("RssFile") > 15e6
    assert torch.equal(mapped, weight) and torch.equal(other, weight + 1)


def test_what_is_in_no_file_stays() -> None:
    weight = torch.ones(1024, 1024)
    assert not drop_pages(weight) and not drop_pages(torch.ones(3)) and bool((weight == 1).all())


def test_freed_memory_goes_back() -> None:
    assert trim() in (True, False)
