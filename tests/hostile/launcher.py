"""A process of its own that runs each command that it is told, in a process that is forked from it.

    python -m tests.hostile.launcher plain|torch

Reads a line of JSON a command, and answers with one. `plain` is small, since the kernel counts what a process had when
it forked as memory of the command. `torch` has torch imported, and a single thread, so that its copies are sound.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.hostile.confined import Ended, Variables, run_command, run_imported

ROOT = Path(__file__).parents[2]
Kind = Literal["plain", "torch"]


class Launcher:
    """The process, started by the first command."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._process: subprocess.Popen[str] | None = None

    def run(self, words: Sequence[str], folder: Path, given: Variables = ()) -> Ended:
        """Run a command in a folder."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "tests.hostile.launcher", self._kind]
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                command, cwd=ROOT, env=environment, text=True, **pipes
            )
        self._process.stdin.write(json.dumps([list(words), str(folder), list(given)]) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(30)


def main(kind: Kind) -> None:
    """Answer until the input ends."""
    run = run_command
    if kind == "torch":
        import training.finetuning.finetune
        import training.pretraining.pretrain
        import training.report.compare  # noqa: F401

        run = run_imported
    for line in sys.stdin:
        words, folder, given = json.loads(line)
        print(json.dumps(dataclasses.asdict(run(words, Path(folder), given))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])  # type: ignore[arg-type]
