"""A process that decodes changed inputs: what ends, hangs or fills it is found by the seed."""

import multiprocessing
import random
import resource
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

from mutations.targets import Target, find_fault

LIMIT_S, MEMORY_BYTES = 30.0, 4 << 30
"""Of one input, and of the address space that the process takes beyond what it has at first."""


def count_outcomes(target: Target, first_seed: int, seconds: float) -> tuple[Counter[str], list[dict[str, Any]], int]:
    """Decode changed inputs for some time; return how often each outcome came, the faults, and the next seed."""
    outcomes: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    seed, deadline = first_seed, time.monotonic() + seconds
    while time.monotonic() < deadline:
        seed = _watch(target, seed, deadline, outcomes, faults)
    return outcomes, faults, seed


def _watch(target: Target, seed: int, deadline: float, outcomes: Counter[str], faults: list[dict[str, Any]]) -> int:
    """Decode in a process of its own until the deadline, or until it ends; return the next seed."""
    context = multiprocessing.get_context("fork")  # with the decoders imported
    ours, theirs = context.Pipe()
    process = context.Process(target=_decode, args=(target, seed, deadline, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(LIMIT_S):
                faults.append({"target": target.name, "seed": seed, "what": f"more than {LIMIT_S:.0f} s"})
                return seed + 1
            seed, outcome = ours.recv()
            known = outcome in ("accepted", "refused")
            outcomes[outcome if known else "fault"] += 1
            if not known:
                faults.append({"target": target.name, "seed": seed, "what": outcome})
            seed += 1
            if time.monotonic() > deadline:
                return seed
    except EOFError:
        process.join()
        if process.exitcode:
            faults.append({"target": target.name, "seed": seed, "what": f"its process ended: {process.exitcode}"})
        return seed + 1
    finally:
        process.kill()
        process.join()


def _decode(target: Target, seed: int, deadline: float, to: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    while time.monotonic() < deadline:
        to.send((seed, find_fault(target, target.mutate(random.Random(seed)))))
        seed += 1
