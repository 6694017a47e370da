"""Threads share the arenas that they are told to share."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_a_crowd_of_threads_gets_no_more_arenas_than_that() -> None:
    def arenas(*limit: str) -> int:
        command = [sys.executable, "-c", CROWD, arenas_module.__file__, *limit]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert arenas("2") <= 2 < arenas()


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", ""))
    assert arenas_module.limit_arenas(1) is False
