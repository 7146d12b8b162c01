"""Timing work that is done batch by batch, each stage several times over, by wall clock and CPU time."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sharding.format.sample import Sample
from training.loading.augment import one_thread_per_worker

T = TypeVar("T", bound=Sized)


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


class Stopwatch:
    """Times of stages that are done batch by batch, accumulated over the batches.

    Args:
        repeats: How often each batch is timed.
    """

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self._seconds: dict[str, NDArray[np.float64]] = {}
        self._bytes: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        """Do the work once to warm up, then again for each repeat; return the first result.

        Args:
            stage: Name of the stage.
            work: Makes one batch: a list of samples in whatever form, or a dict with their keys.
        """
        made = work()
        seconds = np.array([time_once(work) for _ in range(self._repeats)])  # (repeats, 2): wall clock, CPU
        # Repeat i of a stage is the sum of the i-th repeats of all its batches.
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        self._bytes[stage] += count_bytes(made)
        self._samples[stage] += len(made["key"]) if isinstance(made, Mapping) else len(made)
        return made

    def timings(self) -> dict[str, Timing]:
        """Return the timings by stage; their bytes are those of the results."""
        return {
            stage: Timing(
                samples=self._samples[stage],
                bytes=self._bytes[stage],
                seconds=tuple(seconds[:, 0].tolist()),
                cpu_seconds=tuple(seconds[:, 1].tolist()),
            )
            for stage, seconds in self._seconds.items()
        }


def time_once(work: Callable[[], object]) -> tuple[float, float]:
    """Do the work; return its wall-clock time and this process's CPU time, seconds."""
    # The CPU clock is read within the wall-clock interval, so that a single thread has no CPU share above 1.
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    cpu_ended, ended = time.process_time(), time.perf_counter()
    return ended - began, cpu_ended - cpu_began


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
