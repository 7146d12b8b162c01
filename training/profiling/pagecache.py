"""The kernel's page cache: which share of a file it holds, and dropping it, so that the next read goes to the disk."""

import ctypes
import mmap
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def drop_pages(path: Path) -> None:
    """Ask the kernel to drop a file from its page cache; files that are in memory only, as in tmpfs, stay.

    Raises:
        OSError: The file cannot be read.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)  # pages that are not written to the disk yet would not be dropped
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # length 0: to the end of the file
    finally:
        os.close(file)


def resident_share(path: Path) -> float:
    """Return the share, 0 to 1, of a file's pages that are in memory, by `mincore(2)`; 0 for an empty file.

    Raises:
        OSError: The file cannot be read, or `mincore` fails.
    """
    size = path.stat().st_size
    if not size:
        return 0.0
    resident = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()  # a byte for each page, rounded up
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as pages:
        begin = (ctypes.c_char * size).from_buffer(pages)  # gives the address of the map; reads no page
        failed = _LIBC.mincore(ctypes.byref(begin), ctypes.c_size_t(size), resident)
        del begin  # a map cannot be closed while a buffer refers to it
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore: {os.strerror(ctypes.get_errno())}", str(path))
    return sum(page & 1 for page in resident) / len(resident)  # the other bits are undefined
