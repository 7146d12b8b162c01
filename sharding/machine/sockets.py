"""Where multiprocessing puts its sockets: below TMPDIR, whose path may be too long for a socket's."""

import atexit
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sharding.errors import UsageError

MOST_BYTES = 70
"""Longest TMPDIR that leaves room for /pymp-xxxxxxxx/listener-xxxxxxxx in the 107 bytes of a socket's path: unix(7)."""

_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def shorten_socket_paths() -> None:
    """Have multiprocessing put its sockets into a folder with a short path, if that of TMPDIR is too long.

    Other temporary files, which may be large, stay in TMPDIR. A worker whose socket cannot be made would hang.

    Raises:
        UsageError: There is no other folder for them.
    """
    # What `multiprocessing.util.get_temp_dir` asks for; child processes inherit it.
    config: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    temporary = str(Path(config["tempdir"]).parent) if config.get("tempdir") else tempfile.gettempdir()
    if len(os.fsencode(temporary)) <= MOST_BYTES:
        return
    for folder in _SHORT:
        if os.access(folder, os.W_OK | os.X_OK):
            config["tempdir"] = tempfile.mkdtemp(prefix="pymp-", dir=folder)
            atexit.register(_remove, os.getpid(), config["tempdir"])
            return
    raise UsageError(
        f"TMPDIR={temporary}: the sockets of worker processes need a path of at most {MOST_BYTES} bytes, and none of "
        f"{', '.join(_SHORT)} may be written to; set TMPDIR to a shorter path"
    )


def _remove(pid: int, folder: str) -> None:
    if os.getpid() == pid:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)
