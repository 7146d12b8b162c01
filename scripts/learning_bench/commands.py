"""Commands of `depthstream`, run as a user would."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from sharding.progress import say
from training import demo


def call(command: str) -> dict[str, Any]:
    """Run a command with `--json` and return its object; its progress goes to stderr.

    Raises:
        DataError: It failed.
    """
    say(f"$ depthstream {command}")
    printed = demo.call([*shlex.split(command), "--json"], stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(printed or b"")
    return found


def quoted(path: Path) -> str:
    """Quote a path for a command."""
    return shlex.quote(str(path))
