"""Memory that was needed for loading only goes back to the system (on Linux; elsewhere nothing happens).

The C library keeps what is freed, in case it is wanted again; after weights were read, widened and
packed that is more than the model itself. `trim()` gives it back. Weights that are read from a mapped
file count as the process's own until the whole file is let go: `drop_pages(tensor)` does it one by one.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import torch

MAPS = Path("/proc/self/maps")  # of this process: "begin-end rights offset device inode file"
DONTNEED = 4  # of madvise


def trim() -> bool:
    """Give freed memory back; False where there is no way to."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):  # another C library
        return False


def drop_pages(tensor: torch.Tensor) -> bool:
    """Let go of the whole pages of a tensor in a mapped file, which nobody wrote to: they are read again
    where they are wanted. False where it lies elsewhere.
    """
    if not sys.platform.startswith("linux") or tensor.device.type != "cpu":
        return False
    first, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    begin = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (first + size) // mmap.PAGESIZE * mmap.PAGESIZE - begin
    if length <= 0 or not tensor.is_contiguous() or not _in_file(first, first + size):
        return False
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return False
    return advise(ctypes.c_void_p(begin), ctypes.c_size_t(length), DONTNEED) == 0


def let_go(tensor: torch.Tensor) -> None:
    """What can be done for a weight that is no longer needed, and for what its packing left behind."""
    drop_pages(tensor)
    trim()


def _in_file(begin: int, end: int) -> bool:
    """Whether these addresses belong to a file that is mapped."""
    try:
        lines = MAPS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    for line in lines:
        span, _, _, _, inode, *path = line.split(maxsplit=5)
        low, high = (int(number, 16) for number in span.split("-"))
        if low <= begin < high:
            return end <= high and inode != "0" and path[:1] != [] and path[0].startswith("/")
    return False
