"""Times of work on a device."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

ENOUGH_S = 4.0
"""Time after which work is not repeated once more, where that of all is short."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Spent:
    """Milliseconds of each repeat: of the wall clock, until the device has done the work, and of this process's CPU."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def time_in_turn(works: Sequence[Work], device: torch.device, repeats: int, enough_s: float = ENOUGH_S) -> list[Spent]:
    """Time works in turn, so that what changes meanwhile changes all of them; they must be warm.

    Slow work is repeated less often than `repeats`: at least twice, and not after `enough_s`.
    """
    found = [Spent() for _ in works]
    begin = time.perf_counter()
    for repeat in range(repeats):
        if repeat >= 2 and time.perf_counter() - begin > enough_s:
            break
        for work, spent in zip(works, found, strict=True):
            synchronize(device)
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            synchronize(device)
            spent.wall.append(1000 * (time.perf_counter() - wall))
            spent.cpu.append(1000 * (time.process_time() - cpu))
    return found


def time_ms(work: Work, device: torch.device, repeats: int) -> dict[str, float]:
    """Time one work, after two times to warm up: median, least and most, milliseconds, and how often."""
    for _ in range(2):
        work()
    times = time_in_turn([work], device, repeats)[0].wall
    return {"ms": statistics.median(times), "ms_min": min(times), "ms_max": max(times), "repeats": len(times)}


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_flops(device: torch.device, dtype: torch.dtype, side: int, repeats: int) -> float:
    """Measure floating point operations a second of a square matrix product."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    spent = time_ms(lambda: one @ other, device, repeats)
    return 2 * side**3 / (spent["ms"] / 1000)
