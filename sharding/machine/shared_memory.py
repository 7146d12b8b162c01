"""The shared memory of this machine, or of a container: a file system of its own, which may be small."""

import os

FOLDER = "/dev/shm"
"""Where the C library keeps shared memory (shm_overview(7)); Docker gives it 64 MB."""


def free_bytes() -> int | None:
    """Return the bytes of shared memory that are free; None if nothing tells, or there is no limit."""
    return None if (found := _ask()) is None else found.f_bavail * found.f_frsize


def whole_bytes() -> int | None:
    """Return the bytes of shared memory, free or not; None as in `free_bytes`."""
    return None if (found := _ask()) is None else found.f_blocks * found.f_frsize


def _ask() -> os.statvfs_result | None:
    try:
        found = os.statvfs(FOLDER)
    except OSError:  # other systems keep it elsewhere
        return None
    return found if found.f_blocks else None  # tmpfs(5): "size=0" is without a limit, and told as 0 blocks
