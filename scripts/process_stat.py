"""What the kernel tells of a process, from /proc (Linux, proc(5)); not a program itself."""

import os
from dataclasses import dataclass

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessStat:
    """A process at one moment.

    Attributes:
        parent: Id of its parent.
        cpu_s: User and system seconds so far.
        faults: Pages mapped so far without a disk read.
        waited_cpu_s: The same of its children that have ended and been waited for, and of theirs.
        waited_faults: The same.
    """

    parent: int
    cpu_s: float
    faults: int
    waited_cpu_s: float
    waited_faults: int


def read_stat(pid: int) -> ProcessStat | None:
    """Read what is known of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().rpartition(b")")[2].split()  # after the name, which may contain spaces and ")"
    except OSError:
        return None
    # Of the fields after the name: 1 is ppid, 7 minflt, 8 cminflt, 11 to 14 utime, stime, cutime, cstime in ticks.
    fields = [int(word) for word in text[1:15]]  # the first, the state, is a letter
    return ProcessStat(
        parent=fields[0],
        cpu_s=(fields[10] + fields[11]) / _TICKS_A_SECOND,
        faults=fields[6],
        waited_cpu_s=(fields[12] + fields[13]) / _TICKS_A_SECOND,
        waited_faults=fields[7],
    )


def read_tree(root: int) -> dict[int, ProcessStat]:
    """Read what is known of `root` and of all its descendants, by process id; empty if `root` has ended."""
    found = {int(name): one for name in os.listdir("/proc") if name.isdigit() and (one := read_stat(int(name)))}
    members = {root: found[root]} if root in found else {}
    grown = True
    while grown:  # one generation a turn
        below = {pid: one for pid, one in found.items() if one.parent in members and pid not in members}
        members |= below
        grown = bool(below)
    return members
