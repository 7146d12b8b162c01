"""Timing work that is done in stages, several times over, by wall clock and CPU time."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sharding.format.sample import Sample
from training.loading.augment import one_thread_per_worker

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long some samples took, several times over.

    Attributes:
        samples: Number of samples, at least 1.
        bytes: Bytes of the samples, in whatever form the stage makes them.
        seconds: Wall-clock time of each repeat, above 0.
        cpu_seconds: CPU time of this process in each repeat; empty if other processes did the work.
    """

    samples: int
    bytes: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = ()

    @property
    def per_sample_s(self) -> float:
        """Wall-clock time of a sample, seconds: the median over the repeats."""
        return float(np.median(self.seconds)) / self.samples

    @property
    def cpu_share(self) -> float | None:
        """CPU time over wall-clock time, None if it is not known; the rest was spent waiting."""
        return sum(self.cpu_seconds) / sum(self.seconds) if self.cpu_seconds else None

    def followed_by(self, other: "Timing") -> "Timing":
        """Return the repeats of both, of the same work."""
        return replace(self, seconds=self.seconds + other.seconds, cpu_seconds=self.cpu_seconds + other.cpu_seconds)


class Stopwatch:
    """Times of the stages of one repeat, accumulated over its samples.

    A stage that is done within another one does not count for that one.
    """

    def __init__(self) -> None:
        # Seconds, float64 (2,): by wall clock, and of CPU.
        self._spent: dict[str, NDArray[np.float64]] = {}
        self._inner = np.zeros(2)  # what stages within the present one took
        self._bytes: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()

    def __call__(self, stage: str, work: Callable[[], T], samples: int = 1, made: object = None) -> T:
        """Do the work of a stage, and return its result.

        Args:
            stage: Name of the stage.
            work: What is timed.
            samples: Number of samples that it is done for.
            made: Whose bytes are counted, if not those of the result.
        """
        entered = _begin()
        outer, self._inner = self._inner, np.zeros(2)
        result, spent = timed(work)
        self._spent[stage] = self._spent.get(stage, np.zeros(2)) + spent - self._inner
        self._bytes[stage] += count_bytes(result if made is None else made)
        self._samples[stage] += samples
        self._inner = outer + _end(entered)  # keeping these records is no work of the stage around this one
        return result

    def timings(self) -> dict[str, Timing]:
        """Return the timings by stage, of one repeat; their bytes are those of the results."""
        return {
            stage: Timing(samples=self._samples[stage], bytes=self._bytes[stage], seconds=(wall,), cpu_seconds=(cpu,))
            for stage, (wall, cpu) in ((stage, spent.tolist()) for stage, spent in self._spent.items())
        }


def join(laps: Sequence[Stopwatch]) -> dict[str, Timing]:
    """Join repeats of the same work into one timing a stage."""
    first, *others = [lap.timings() for lap in laps]
    joined = first
    for other in others:
        joined = {stage: one.followed_by(other[stage]) for stage, one in joined.items()}
    return joined


def timed(work: Callable[[], T]) -> tuple[T, NDArray[np.float64]]:
    """Do the work; return its result, and its seconds, float64 (2,): by wall clock, and of this process's CPU."""
    began = _begin()
    result = work()
    return result, _end(began)


def time_once(work: Callable[[], object]) -> tuple[float, float]:
    """Do the work; return its wall-clock time and this process's CPU time, seconds."""
    wall, cpu = timed(work)[1].tolist()
    return wall, cpu


def _begin() -> tuple[float, float]:
    # The CPU clock is read within the wall-clock interval, so that a single thread has no CPU share above 1.
    return time.perf_counter(), time.process_time()


def _end(began: tuple[float, float]) -> NDArray[np.float64]:
    cpu = time.process_time() - began[1]
    return np.array([time.perf_counter() - began[0], cpu])


def count_bytes(made: Any) -> int:
    """Count the bytes of buffers, arrays and tensors, also within lists, dicts and samples; other objects count 0."""
    if isinstance(made, Sample):
        return count_bytes([made.image, made.depth, made.valid])
    if isinstance(made, Mapping):
        return count_bytes(list(made.values()))
    if isinstance(made, list | tuple):
        return sum(count_bytes(one) for one in made)
    return len(made) if isinstance(made, bytes) else int(getattr(made, "nbytes", 0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch and cv2 on one thread, as in a worker, so that a stage costs what it costs a worker.

    The number of threads of torch is restored; that of cv2 stays 1, which changes none of its results.
    """
    threads = torch.get_num_threads()
    one_thread_per_worker(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
