"""What keeps a service's memory where it is: few arenas, few compiled kernels, pages given back.

Three things grew although no more was in use. glibc gives threads arenas of their own, up to eight a
core, and what is freed in one stays there: `limit_arenas` lets all threads share a few. What is
freed also stays with the process, in holes that speech of another length does not fit: `give_back`
returns their pages to the system. And oneDNN keeps a compiled kernel for each of the last 1,024 shapes,
some 0.08 MB for every length of a stretch of sound: `limit_kernels` keeps fewer (making one anew
takes 0.2 ms). Other C libraries know nothing of the first two, and nothing is done.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import MutableMapping

M_ARENA_MAX = -8  # glibc's malloc.h
KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"  # oneDNN looks at it when it makes the first one


def limit_arenas(most: int) -> bool:
    """Let all threads of this process share so many arenas; whether that can be said here.

    Call it before threads are started: an arena that is there stays.
    """
    if not _is_glibc():
        return False
    return ctypes.CDLL(None).mallopt(M_ARENA_MAX, most) == 1


def limit_kernels(environment: MutableMapping[str, str], most: int = 128) -> None:
    """Let oneDNN keep so many kernels, unless the environment says otherwise.

    Call it with `os.environ`, before a model has run.
    """
    environment.setdefault(KERNELS, str(most))


def give_back() -> bool:
    """Return freed pages to the system; whether there were any. Takes some milliseconds."""
    return _is_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
