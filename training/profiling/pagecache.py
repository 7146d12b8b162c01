"""The kernel's page cache: what it holds of a file, and dropping that, so that the next read goes to the disk."""

import ctypes
import mmap
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def drop_pages(path: Path) -> None:
    """Ask the kernel to drop a file from its cache. What a file system keeps in memory alone stays, as with tmpfs.

    Raises:
        OSError: The file cannot be read.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)  # what is not written yet is not dropped
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def resident_share(path: Path) -> float:
    """The share of a file's pages that are in memory, by `mincore(2)`; 0 of an empty file.

    Raises:
        OSError: The file cannot be read, or the kernel does not tell.
    """
    size = path.stat().st_size
    if not size:
        return 0.0
    resident = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as pages:
        begin = (ctypes.c_char * size).from_buffer(pages)
        failed = _LIBC.mincore(ctypes.byref(begin), ctypes.c_size_t(size), resident)
        del begin  # the map cannot be closed while somebody refers to it
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore: {os.strerror(ctypes.get_errno())}", str(path))
    return sum(page & 1 for page in resident) / len(resident)
