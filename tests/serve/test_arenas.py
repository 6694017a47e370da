"""Memory stays where it is: arenas are shared, kernels few, freed pages go back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

import pytest
import torch
from serving import Open, body, key

from voxray.serve import app as app_module
from voxray.serve import arenas as arenas_module

CROWD = """
import ctypes, re, runpy, sys, tempfile, threading

libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
if len(sys.argv) > 2:
    assert runpy.run_path(sys.argv[1])["limit_arenas"](int(sys.argv[2]))
ready = threading.Barrier(9)

def hold():
    kept = [bytearray(60_000) for _ in range(20)]
    ready.wait()
    ready.wait()

threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
ready.wait()
with tempfile.NamedTemporaryFile() as told:
    file = libc.fopen(told.name.encode(), b"w")
    libc.malloc_info(0, ctypes.c_void_p(file))
    libc.fclose(ctypes.c_void_p(file))
    print(len(re.findall(rb"<heap nr=", told.read())))
ready.wait()
"""


HOLES = """
import runpy, sys
from pathlib import Path

def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

give_back = runpy.run_path(sys.argv[1])["give_back"]
blocks = [bytearray(100_000) for _ in range(600)]  # each in the heap, below the size of a mapping
del blocks[:-1]  # the last one keeps the heap's end where it is
before = resident()
print(give_back(), before - resident())
"""
SHAPES = """
import os, runpy, sys
import torch

runpy.run_path(sys.argv[1])["limit_kernels"](os.environ, int(sys.argv[2]))
layer = torch.nn.Conv1d(64, 64, 3)
with torch.inference_mode():
    for length in [*range(400, 408)] * 2:
        layer(torch.zeros(1, 64, length))
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")


def told(program: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", program, arenas_module.__file__, *arguments]
    kept = {name: said for name, said in os.environ.items() if name != arenas_module.KERNELS}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**kept, **environment}
    ).stdout


@glibc
def test_a_crowd_of_threads_gets_no_more_arenas_than_that() -> None:
    assert int(told(CROWD, "2")) <= 2 < int(told(CROWD))


@glibc
def test_freed_pages_go_back_to_the_system() -> None:
    given, size = told(HOLES).split()
    assert given == "True" and int(size) > 40e6  # of 60 MB that were freed


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", ""))
    assert arenas_module.limit_arenas(1) is False and arenas_module.give_back() is False


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_kernels_of_lengths_gone_by_are_forgotten() -> None:
    def made(most: str) -> int:
        lines = told(SHAPES, most, ONEDNN_VERBOSE="2").splitlines()
        return sum("create:cache_miss" in line and ",convolution," in line for line in lines)

    many = made("1000")
    assert many == 8, "one a length"
    assert made("4") == 2 * many, "eight others came between"


def test_the_environment_has_the_last_word() -> None:
    environment = {arenas_module.KERNELS: "7"}
    arenas_module.limit_kernels(environment)
    assert environment == {arenas_module.KERNELS: "7"}


def test_a_service_tidies_up_after_work(serve: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    goes: list[float] = []
    monkeypatch.setattr(app_module, "TIDIED_SECONDS", 0.02)
    monkeypatch.setattr(app_module, "give_back", lambda: goes.append(service.busy_seconds))
    client = serve()
    service = client.app.state.service.scheduler  # type: ignore[attr-defined]
    assert client.post("/v1/audio/speech", json=body(), headers=key()).status_code == 200
    until = time.monotonic() + 60
    while not (goes and goes[-1] == service.busy_seconds) and time.monotonic() < until:
        time.sleep(0.02)
    count = len(goes)
    assert count and goes[-1] == service.busy_seconds, "once after the last of it"
    time.sleep(0.2)
    assert len(goes) == count, "and not again while nothing is done"
