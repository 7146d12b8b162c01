"""The process in which one way of loading is measured: `python -m loader_bench.turn TASK`, a `Task` as JSON.

A process for each turn: no loader inherits the memory, the threads or the open files of another, and peers may run in
an environment of their own. Its last line is the answer, as JSON.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from loader_bench.task import Task


def answer(task: Task) -> dict[str, Any]:
    """Do what is asked for."""
    if task.does == "parts":
        from loader_bench.tutorial import time_parts

        return time_parts(task.source, task.side)
    from loader_bench.ways import open_way, write_way

    if task.does == "write":
        write_way(task)
        return {}
    run = open_way(task)
    run()  # starts workers, and files are in the page cache after it
    return asdict(run())


if __name__ == "__main__":
    print(f"\n{json.dumps(answer(Task(**json.loads(sys.argv[1]))))}", flush=True)
