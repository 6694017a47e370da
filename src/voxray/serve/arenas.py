"""How many places the C library keeps freed memory in.

glibc gives threads arenas of their own, up to eight a core, and what was freed in one stays there: a
service whose texts are read by whichever thread is free grew with the first crowds, arena by arena,
although no more was in use. A few for all threads keep the memory where it is. Other C libraries know
nothing of this, and nothing is done.
"""

from __future__ import annotations

import ctypes
import platform

M_ARENA_MAX = -8  # glibc's malloc.h


def limit_arenas(most: int) -> bool:
    """Let all threads of this process share so many arenas; whether that can be said here.

    Call it before threads are started: an arena that is there stays.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(M_ARENA_MAX, most) == 1
