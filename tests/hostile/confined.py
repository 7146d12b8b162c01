"""A command in a process of its own, with limits of time and memory, and what it left behind."""

import contextlib
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIME_S = 30.0
MEMORY_MIB = 2048
"""Above what the command takes on a sound input."""

PLAIN_MIB = 400
TORCH_MIB = 1300
"""What the commands take on sound inputs, at most."""

_HARD_BYTES = 8 << 30  # of private memory: it ends the process before the machine is short of it
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; negative: the signal that killed it; None: it was killed after `TIME_S`.
        out, err: What it printed.
        mib: Most memory that it, or a process that it waited for, had at once; at least what this process has.
        seconds: How long it ran.
    """

    status: int | None
    out: str
    err: str
    mib: float
    seconds: float


Variables = Sequence[tuple[str, str]]


def run_command(words: Sequence[str], folder: Path, given: Variables = (), time_s: float = TIME_S) -> Ended:
    """Run `depthstream` with these words as a program, in a folder."""
    command = [sys.executable, "-P", "-m", "training", *words]  # -P: as the installed program, not from that folder
    return _watch(folder, lambda: os.execve(sys.executable, command, _environment(given)), time_s)


def run_imported(words: Sequence[str], folder: Path, given: Variables = ()) -> Ended:
    """Run the command in a copy of this process, which should have one thread, and the heavy libraries loaded."""
    from training.__main__ import main

    def run() -> None:
        os.environ.clear()
        os.environ.update(_environment(given))
        sys.argv[1:] = list(words)
        status: object = 1
        try:
            status = main()
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)

    return _watch(folder, run, TIME_S)


def _environment(given: Variables) -> dict[str, str]:
    home = {"HOME": "/nonexistent", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    secret = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WDS_"))}
    return secret | home | {"AWS_ACCESS_KEY_ID": "hostile", "AWS_SECRET_ACCESS_KEY": "hostile-secret"} | dict(given)


def _watch(folder: Path, work: Callable[[], object], time_s: float) -> Ended:
    """Fork, do the work in the child with its output in files, and wait for it."""
    files = [folder.parent / name for name in ("stdout", "stderr")]
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            _confine(folder, files)
            work()
        finally:
            os._exit(111)
    status, usage = _wait(child, begin + time_s)
    out, err = (path.read_text(errors="replace") for path in files)
    return Ended(status, out, err, usage.ru_maxrss / 1024, time.monotonic() - begin)


def _confine(folder: Path, files: Sequence[Path]) -> None:
    os.setsid()
    os.chdir(folder)
    for number, path in enumerate(files, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_DATA, (_HARD_BYTES, _HARD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _wait(child: int, until: float) -> "tuple[int | None, resource.struct_rusage]":
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return None, usage
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):  # what it left behind
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status), usage


def find_faults(ended: Ended, base_mib: int) -> list[str]:
    """List what no input may cause: hangs, crashes, tracebacks, too much memory, a message that is none."""
    last = ended.err.strip().rpartition("\n")[2]
    refused = ended.status in (1, 2)
    rules = {
        f"it ran longer than {TIME_S:.0f} s": ended.status is None,
        f"it ended with status {ended.status}": ended.status not in (0, 1, 2, None),
        f"it took {ended.mib:.0f} MiB": ended.mib > base_mib + MEMORY_MIB,
        "a traceback": "Traceback" in ended.err + ended.out,
        "a control character": bool(_CONTROL.search(ended.err + ended.out)),
        f"{len(ended.err)} characters of messages": len(ended.err) >= 3000,
        "no message": refused and not last.startswith("depthstream") and not ended.out,
    }
    return [what for what, broken in rules.items() if broken]
