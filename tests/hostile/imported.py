"""A process that has torch imported: it runs each command that it is told in a copy of itself.

    python -m tests.hostile.imported

Reads a line of JSON a command, and answers with one. It has a single thread, so that its copies are sound.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.confined import Ended, Variables, run_imported

ROOT = Path(__file__).parents[2]


class Imported:
    """The process, started by the first command."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, words: Sequence[str], folder: Path, given: Variables = ()) -> Ended:
        """Run a command in a folder."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [sys.executable, "-m", "tests.hostile.imported"], cwd=ROOT, env=environment, text=True, **pipes
            )
        self._process.stdin.write(json.dumps([list(words), str(folder), list(given)]) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(30)


def main() -> None:
    """Answer until the input ends."""
    import training.finetuning.finetune
    import training.pretraining.pretrain
    import training.report.compare  # noqa: F401

    for line in sys.stdin:
        words, folder, given = json.loads(line)
        print(json.dumps(dataclasses.asdict(run_imported(words, Path(folder), given))), flush=True)


if __name__ == "__main__":
    main()
