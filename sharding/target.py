"""The folder that a set is written into: one run at a time, and plain words when it cannot be written."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sharding.errors import DataError, UsageError

QUARANTINE_NAME = "quarantine.jsonl"
LEDGER_NAME = ".making"
"""Folder of the ledger, as long as the set is not finished."""


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other runs away from the folder, which is made if there is none; ends with the process.

    A file system that has no locks is trusted.

    Raises:
        UsageError: Another run is making this set.
    """
    target.mkdir(parents=True, exist_ok=True)
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise UsageError(f"{target}: another run is making this set; wait until it ends, or end it") from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(folder)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in plain words why the set cannot be written.

    Raises:
        DataError: It cannot.
    """
    try:
        yield
    except OSError as error:
        where, reason = error.filename or target, error.strerror or error
        advice = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise DataError(
            f"{where}: the set cannot be written: {reason}; finished shards are kept: "
            f"{advice} and run the same command again"
        ) from error
