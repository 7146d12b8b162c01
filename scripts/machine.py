"""Where, when and with which versions a measurement ran, for the JSON of a program; not a program itself."""

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine(packages: Sequence[str], programs: Sequence[str] = ()) -> dict[str, Any]:
    """Describe processor, cores this process may use, memory, load of the last minute, versions, date and command.

    Linux only.

    Args:
        packages: Installed packages whose versions are added to Python's.
        programs: Programs whose first line of `--version` is added.
    """
    shown = {name: subprocess.check_output([name, "--version"], text=True).splitlines()[0] for name in programs}
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages} | shown
    return {
        "cpu": _find("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_after": os.getloadavg()[0],
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }


def _find(path: str, name: str) -> str:
    """Return the value of the first line `NAME : VALUE` of a kernel file; "" if there is none."""
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
