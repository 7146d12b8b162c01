"""Run a program and watch the memory and the processor time of its whole process tree. Linux: reads /proc."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from sharding.errors import DataError

INTERVAL_S = 0.05
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TOLD_LINES = 5


@dataclass(frozen=True, kw_only=True)
class TreeSample:
    """The tree at one moment.

    Attributes:
        progress: What the caller's function said, such as bytes read.
        memory_bytes: Of all processes together, as `TreeUsage.memory_is` says.
    """

    progress: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class TreeUsage:
    """What a program took.

    Attributes:
        wall_s: From its start until it was reaped.
        cpu_s: User and system time of the tree: the larger of what the kernel tells of the processes that were waited
            for, and of what was last seen of each process (a process that outlives its parent is in the second alone).
        memory_is: "pss" (shared pages are divided among their users) or, where that may not be read, "rss".
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
        """Cores that were busy on average."""
        return self.cpu_s / self.wall_s

    @property
    def peak_mib(self) -> float:
        """The largest memory that was seen, in MiB; 0 if the program ended before the first sample."""
        return max((sample.memory_bytes for sample in self.samples), default=0) / 2**20


@dataclass
class _Watch:
    """Looks at the tree below `root` until it is told to stop."""

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
        progress: Called with every sample.
        environment: Of the program; None for that of this process.

    Raises:
        DataError: It failed; the message ends with what it wrote last to stderr.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(argv, stdout=output, stderr=errors, env=environment)
        watch = _Watch(process.pid, progress)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        finally:
            watch.done.set()
        wall_s = time.perf_counter() - begin
        thread.join()
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
    return "\n".join(errors.read().splitlines()[-_TOLD_LINES:])


def tree(root: int) -> dict[int, float]:
    """Processor seconds so far of `root` and of all its descendants, by process id; empty if `root` has ended."""
    found = {int(name): one for name in os.listdir("/proc") if name.isdigit() and (one := _stat(int(name)))}
    members = {root: found[root][1]} if root in found else {}
    grown = True
    while grown:
        below = {pid: cpu_s for pid, (parent, cpu_s) in found.items() if parent in members and pid not in members}
        members |= below
        grown = bool(below)
    return members


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and processor seconds of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # after the name, which may hold anything
    except OSError:
        return None
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory(pid: int) -> tuple[int, str]:
    """Memory of a process in bytes, and whether that is "pss" or "rss"; 0 if it has ended."""
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
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
