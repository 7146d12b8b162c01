"""Settings of the C library's heap, so that it keeps freed memory: images and depth come and go with every sample.

By default glibc returns freed megabytes to the system and requests them again a moment later, as pages that the kernel
must find and clear: a third of the time of a loader worker.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>, https://man7.org/linux/man-pages/man3/mallopt.3.html

KEEP_BYTES = 256 << 20
"""Free memory that a process keeps for the next sample: more than a batch takes while it is made."""

LARGE_BYTES = 32 << 20
"""Blocks of at least this size are still mapped and unmapped one by one: the largest value that mallopt accepts."""

_ARENAS = "MALLOC_ARENA_MAX"


def keep_freed_memory() -> bool:
    """Have this process, and those it forks, keep up to `KEEP_BYTES` of freed memory.

    Returns:
        Whether it will: not with another C library, nor where the environment sets these thresholds already.
    """
    if any(name.startswith("MALLOC_") and name.endswith("THRESHOLD_") for name in os.environ):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, KEEP_BYTES))


@contextmanager
def one_heap_in_children() -> Iterator[None]:
    """Have the threads of programs that are started in the block share one heap, unless MALLOC_ARENA_MAX is set.

    With one heap (arena) per thread, glibc's default, each keeps freed buffers of its own, and the memory of workers
    that read ahead grew by a fifth over ten epochs. All but the first return whole pieces to the system whatever
    `keep_freed_memory` sets, only to request them again. glibc reads the variable when a program begins.
    """
    given = os.environ.get(_ARENAS)
    os.environ.setdefault(_ARENAS, "1")
    try:
        yield
    finally:
        if given is None:
            del os.environ[_ARENAS]
