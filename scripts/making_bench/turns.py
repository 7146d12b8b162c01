"""Programs that take turns, and the time and memory of each turn."""

import json
import os
import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sharding
from making_bench.process_tree import TreeUsage, run_watched
from sharding.errors import DataError
from sharding.progress import say


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to measure.

    Attributes:
        argv: The program and its arguments; it must write below `output` only.
        output: Folder that is deleted after each turn.
        num_bytes: Size of the archive that it reads; 0 for a folder.
        views: Samples that its set must have; 0 if it makes no set.
        into_empty: Whether `output` must exist as an empty folder before it starts.
    """

    argv: tuple[str, ...]
    output: Path
    num_bytes: int = 0
    views: int = 0
    into_empty: bool = False


@dataclass
class Turns:
    """The usage of each program, turn by turn; ratios are of programs that took turns with each other.

    Attributes:
        programs: By name.
        used: Usage by name, one for each turn.
    """

    programs: dict[str, Program] = field(default_factory=dict)
    used: dict[str, list[TreeUsage]] = field(default_factory=dict)

    def take(self, programs: Mapping[str, Program], repeats: int, progress: Callable[[], int] = lambda: 0) -> None:
        """Run the programs one after the other, `repeats` times.

        Raises:
            DataError: One failed, or its set does not have the expected number of samples.
        """
        self.programs |= programs
        for turn in range(repeats):
            for name, program in programs.items():
                usage = run_once(program, progress)
                self.used.setdefault(name, []).append(usage)
                say(f"{name}: turn {turn + 1}, {usage.wall_s:.2f} s, {usage.cores:.2f} cores, {usage.peak_mib:.0f} MiB")

    def row(self, name: str) -> dict[str, Any]:
        """Compute the figures of a program: medians over its turns, the range of times, the largest memory."""
        program, used = self.programs[name], self.used[name]
        times = [one.wall_s for one in used]
        wall_s = statistics.median(times)
        return {
            "wall_s": wall_s,
            "wall_s_min": min(times),
            "wall_s_max": max(times),
            "archive_bytes": program.num_bytes or None,
            "mb_per_s": program.num_bytes / wall_s / 1e6 or None,
            "samples": program.views or None,
            "samples_per_s": program.views / wall_s or None,
            "cores": statistics.median(one.cores for one in used),
            "peak_mib": max(one.peak_mib for one in used),
            "memory_is": used[0].memory_is,
        }

    def ratio(self, above: str, below: str) -> dict[str, float]:
        """Divide the median time of a program by that of another; also return the least and largest ratio of a turn."""
        first, second = ([one.wall_s for one in self.used[name]] for name in (above, below))
        each = [one / other for one, other in zip(first, second, strict=True)]
        return {"median": statistics.median(first) / statistics.median(second), "min": min(each), "max": max(each)}


def run_once(program: Program, progress: Callable[[], int]) -> TreeUsage:
    """Run a program, and delete its output.

    Raises:
        DataError: It failed, or its set does not have the expected number of samples.
    """
    # The package of this source tree comes first, even if another one is installed.
    path = os.pathsep.join(filter(None, [str(Path(sharding.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    if program.into_empty:
        program.output.mkdir()
    os.sync()  # so that the disk is idle when the program starts
    try:
        usage = run_watched(program.argv, progress=progress, environment=os.environ | {"PYTHONPATH": path})
    finally:
        shutil.rmtree(program.output, ignore_errors=True)
    if program.views and (found := json.loads(usage.output)["samples"]) != program.views:
        raise DataError(f"{' '.join(program.argv)}: expected a set of {program.views} samples, found {found}")
    return usage
