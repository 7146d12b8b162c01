"""Run a program and sample the memory and the CPU time of its whole process tree, from /proc (Linux, proc(5))."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from process_stat import read_tree

from sharding.errors import DataError

INTERVAL_S = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHOWN_LINES = 5


@dataclass(frozen=True, kw_only=True)
class TreeSample:
    """The tree at one moment.

    Attributes:
        progress: The value of the caller's function, such as bytes read.
        memory_bytes: Of all processes together, of the kind in `TreeUsage.memory_is`.
    """

    progress: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class TreeUsage:
    """Time and memory of a program.

    Attributes:
        wall_s: Seconds from its start until it was reaped.
        cpu_s: User and system seconds of the tree: the larger of the kernel's total of waited-for processes and the sum
            of the last samples of each process (a process that outlives its parent is in the second alone).
        memory_is: "pss" (shared pages are divided among their users) or, without permission to read that, "rss".
        samples: One every `INTERVAL_S`.
        output: What the program wrote to stdout.
    """

    wall_s: float
    cpu_s: float
    memory_is: str
    samples: list[TreeSample]
    output: str

    @property
    def cores(self) -> float:
        """Return how many cores were busy on average."""
        return self.cpu_s / self.wall_s

    @property
    def peak_mib(self) -> float:
        """Return the largest sampled memory in MiB; 0 if the program ended before the first sample."""
        return max((sample.memory_bytes for sample in self.samples), default=0) / 2**20


@dataclass
class _Watch:
    """A sampler of the tree below `root` that runs in a thread until `done` is set."""

    root: int
    progress: Callable[[], int]
    samples: list[TreeSample] = field(default_factory=list)
    cpu_s: dict[int, float] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while True:
            self.look()
            if self.done.wait(INTERVAL_S):
                return

    def look(self) -> None:
        progress, total = self.progress(), 0
        # CPU time is kept for each process, because one that has ended is no longer in the tree.
        for pid, cpu_s in tree(self.root).items():
            self.cpu_s[pid] = max(cpu_s, self.cpu_s.get(pid, 0.0))
            num_bytes, kind = memory(pid)
            total += num_bytes
            self.kinds.add(kind)
        if total:
            self.samples.append(TreeSample(progress=progress, memory_bytes=total))


def run_watched(
    argv: Sequence[str], *, progress: Callable[[], int] = lambda: 0, environment: Mapping[str, str] | None = None
) -> TreeUsage:
    """Run a program to its end.

    Args:
        argv: The program and its arguments.
        progress: Called for every sample, in another thread.
        environment: Of the program; None for that of this process.

    Raises:
        DataError: Its exit status is not 0; the message ends with the last lines of its stderr.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(argv, stdout=output, stderr=errors, env=environment)
        watch = _Watch(process.pid, progress)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        try:
            _, status, used = os.wait4(process.pid, 0)  # also the CPU time of the tree, unlike Popen.wait
        except BaseException:
            process.terminate()
            raise
        finally:
            watch.done.set()
        wall_s = time.perf_counter() - begin
        thread.join()
        # Popen did not reap the process itself, and must not wait for its id again.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise DataError(f"{' '.join(argv)}: expected exit status 0, found {process.returncode}: {_last(errors)}")
        output.seek(0)
        return TreeUsage(
            wall_s=wall_s,
            cpu_s=max(used.ru_utime + used.ru_stime, sum(watch.cpu_s.values())),
            memory_is="rss" if "rss" in watch.kinds else "pss",
            samples=watch.samples,
            output=output.read(),
        )


def _last(errors: IO[str]) -> str:
    errors.seek(0)
    return "\n".join(errors.read().splitlines()[-_SHOWN_LINES:])


def tree(root: int) -> dict[int, float]:
    """Return CPU seconds so far of `root` and of all its descendants, by process id; empty if `root` has ended."""
    return {pid: one.cpu_s for pid, one in read_tree(root).items()}


def memory(pid: int) -> tuple[int, str]:
    """Return the memory of a process in bytes, and whether that is "pss" or "rss"; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024, "pss"
    except PermissionError:
        return _resident(pid), "rss"
    except OSError:
        pass
    return 0, "pss"


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES  # the second field is resident pages
    except OSError:
        return 0
