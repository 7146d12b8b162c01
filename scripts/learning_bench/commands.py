"""Commands of `depthstream`, run as a user would."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from sharding.errors import DataError
from sharding.machine.safe_path import safe_path_in_children
from sharding.progress import say


def call(command: str) -> dict[str, Any]:
    """Run a command with `--json` and return its object; its progress goes to stderr.

    Raises:
        DataError: It failed.
    """
    say(f"$ depthstream {command}")
    with safe_path_in_children():
        done = subprocess.run(
            [sys.executable, "-m", "training", *shlex.split(command), "--json"], stdout=subprocess.PIPE, check=False
        )
    if done.returncode != 0:
        raise DataError(f"`depthstream {command}` ended with status {done.returncode}; its message is above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def quoted(path: Path) -> str:
    """Quote a path for a command."""
    return shlex.quote(str(path))
