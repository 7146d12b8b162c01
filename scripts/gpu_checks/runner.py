"""Runs the parts one after the other, each in a process of its own, and writes results.json as they come."""

import contextlib
import importlib
import json
import multiprocessing
import os
import queue
import signal
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_checks.bench import Bench
from gpu_checks.check import Check, Stage, unable
from sharding.errors import UsageError
from sharding.machine.files import write_atomically
from sharding.progress import say

PARTS = ("precision", "stopping", "ranks", "pretraining", "memory", "step", "feed", "views", "cards")
"""In this order; each is a module with `STAGES` and `LIMIT_S`, the seconds it may take; the limits of those that one
card can do add up to less than 9 minutes. `lacks(bench)`, if there is one, tells why it cannot be done here."""

CPU_FACTOR = 8
"""What the limits are multiplied by on a CPU, which other programs may keep busy."""

MARK = "ON_GPU_PART"
"""Environment variable of all that a part starts, whatever session it is in."""

_NOT_REACHED = "not reached: the part ended before"


class Results:
    """The results so far, also in a file.

    Args:
        file: Written after each result.
        about: Device, versions and options, at the beginning of the JSON.
    """

    def __init__(self, file: Path, about: dict[str, Any]) -> None:
        self._file, self.data = file, about | {"parts": {}}

    def begin(self, part: str) -> None:
        """Begin a part: each of its checks is there from now on."""
        empty = {name: Check(name=name, ok=False, why=_NOT_REACHED).to_json() for name in check_names(part)}
        self.data["parts"][part] = {"seconds": None, "failed": "", "checks": empty}
        self._write()

    def add(self, part: str, check: Check) -> None:
        """Add a result."""
        self.data["parts"][part]["checks"][check.name] = check.to_json()
        self._write()

    def finish(self, part: str, seconds: float, failed: str, until: str = "") -> None:
        """Finish a part: how long it took, and why it ended early, "" if it did not; `until`: see `run_parts`."""
        found = self.data["parts"][part]
        found["seconds"], found["failed"] = round(seconds, 1), failed
        for check in found["checks"].values():
            if check["why"] != _NOT_REACHED:
                continue
            if failed:
                check["why"] = f"not reached: {failed}"
            elif until:
                check["ok"], check["why"] = None, "not asked for"
        self._write()

    def _write(self) -> None:
        write_atomically(self._file, (json.dumps(self.data, indent=1, allow_nan=False) + "\n").encode())


def check_names(part: str) -> list[str]:
    """List the names of a part's checks."""
    stages: Sequence[Stage] = importlib.import_module(f"gpu_checks.{part}").STAGES
    return [name for names, _ in stages for name in names]


def choose_parts(wanted: Sequence[str]) -> dict[str, str]:
    """Return what to run, {part: last check or ""}, in the order of `PARTS`; all if nothing is named.

    Args:
        wanted: Names such as "step", or "feed.stall_seen": then the part ends with that check; commas
            separate names, too.

    Raises:
        UsageError: There is no such part or check.
    """
    named = dict(word.partition(".")[::2] for words in wanted for word in words.split(","))
    for part, check in named.items():
        if part not in PARTS:
            raise UsageError(f"--only {part}: expected some of {', '.join(PARTS)}")
        if check and check not in check_names(part):
            raise UsageError(f"--only {part}.{check}: expected one of {', '.join(check_names(part))}")
    return {part: named.get(part, "") for part in PARTS if part in named or not named}


def run_parts(bench: Bench, parts: Mapping[str, str], results: Results, minutes: float) -> Iterator[str]:
    """Run the parts until the time is up, and yield the name of each when it has ended; what is not reached says so.

    Args:
        bench: Device, sizes and data.
        parts: Name of each part, and of the check after which it ends; "" for all.
        results: Takes the results.
        minutes: Time for all parts.
    """
    deadline = time.monotonic() + 60 * minutes
    limits = {part: importlib.import_module(f"gpu_checks.{part}").LIMIT_S for part in parts}
    for part, until in parts.items():
        results.begin(part)
        begin, limit_s = time.monotonic(), limits.pop(part)
        left_s = deadline - begin
        # What the parts before did not need is this one's, and so is what those after will not need.
        limit_s = max(limit_s, left_s - sum(limits.values())) if bench.on_gpu else limit_s * CPU_FACTOR
        failed = _run_part(bench, part, until, results, min(limit_s, left_s))
        seconds = time.monotonic() - begin
        results.finish(part, seconds, failed, until)
        say(f"{part}: {seconds:.1f} s{', ' + failed if failed else ''}")
        yield part


def _run_part(bench: Bench, part: str, until: str, results: Results, limit_s: float) -> str:
    """Run a part, if it can be run here and there is time; return why it ended early, "" if it did not."""
    module = importlib.import_module(f"gpu_checks.{part}")
    if lack := getattr(module, "lacks", lambda bench: "")(bench):
        for name in check_names(part):
            results.add(part, unable(name, lack))
        return ""
    return _run_apart(bench, part, until, results, limit_s) if limit_s > 0 else "the time was up"


def _run_apart(bench: Bench, part: str, until: str, results: Results, limit_s: float) -> str:
    """Run a part in a process of its own; return why it ended early, "" if it did not."""
    # A process with its own CUDA context must be a fresh one. Forking saves the seconds of the imports on a CPU.
    context: Any = multiprocessing.get_context("spawn" if bench.on_gpu else "fork")
    found: multiprocessing.Queue[Check | None] = context.Queue()
    mark = uuid.uuid4().hex
    process = context.Process(target=_run_here, args=(bench, part, until, mark, found))
    process.start()
    deadline = time.monotonic() + limit_s
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                one = found.get(timeout=min(left_s, 1.0))
            except queue.Empty:
                if process.is_alive():
                    continue
                return f"its process ended with status {process.exitcode}"
            if one is None:
                process.join(5)
                return ""
            results.add(part, one)
            say(f"  {part}.{one.name}: {_say(one)}")
        return f"it took longer than {limit_s:.0f} s"
    finally:
        _end(process, mark)


def _run_here(bench: Bench, part: str, until: str, mark: str, found: "multiprocessing.Queue[Check | None]") -> None:
    """Put each result, and None at the end; of a stage that raises, why its other results are missing."""
    os.environ[MARK] = mark
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for names, stage in importlib.import_module(f"gpu_checks.{part}").STAGES:
        missing = list(names)
        try:
            for check in stage(bench):
                found.put(check)
                missing = [name for name in missing if name != check.name]  # a result may be refined
                if check.name == until:
                    return found.put(None)
        except Exception as error:
            traceback.print_exc()
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            for name in missing:
                found.put(Check(name=name, ok=False, why=why))
    found.put(None)


def _end(process: Any, mark: str) -> None:
    """End the process of a part, and all that it started."""
    if process.is_alive():
        process.kill()
        process.join()
    kill_marked(mark)


def kill_marked(mark: str) -> None:
    """Kill all processes that have the mark in their environment (Linux)."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or belongs to another user
            if f"{MARK}={mark}".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def _say(check: Check) -> str:
    words = {True: "ok", False: "FAILED", None: "not possible here"}[check.ok]
    return f"{words}{': ' + check.why if check.why else ''}"
