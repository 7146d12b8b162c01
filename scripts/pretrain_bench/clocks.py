"""CPU clocks of loader workers: each batch carries the clock of the process that made it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Stamped:
    """Collates as another function does, and adds the process's CPU clock to the batch.

    Attributes:
        collate: The other function.
    """

    collate: Callable[[list[Any]], Any]

    def __call__(self, items: list[Any]) -> tuple[Any, int, float, int]:
        """Return the batch, the process id, the CPU seconds of all its threads so far, and the number of items."""
        batch = self.collate(items)
        return batch, os.getpid(), time.process_time(), len(items)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch cost.

    Attributes:
        images: Images that the workers made between their first and last batch.
        worker_s: CPU seconds of the workers in that time.
        main_s: CPU seconds of the main process, a whole epoch.
        wall_s: Seconds, a whole epoch.
        consumed: Images of the whole epoch.
        batches: Batches of the whole epoch.
    """

    images: int
    worker_s: float
    main_s: float
    wall_s: float
    consumed: int
    batches: int

    @property
    def worker_ms(self) -> float:
        """CPU milliseconds of the workers an image."""
        return 1000 * self.worker_s / self.images


def run_epoch(loader: DataLoader[Any]) -> Epoch:
    """Consume an epoch of a loader whose `collate_fn` is `Stamped`.

    A worker's time begins at its first batch, so that its start is not counted.
    """
    stamps: dict[int, list[tuple[float, int]]] = {}  # process -> (clock, images) of its batches
    wall, main = time.perf_counter(), time.process_time()
    for _, process, clock, images in loader:
        stamps.setdefault(process, []).append((clock, images))
    return Epoch(
        images=sum(images for made in stamps.values() for _, images in made[1:]),
        worker_s=sum(made[-1][0] - made[0][0] for made in stamps.values()),
        main_s=time.process_time() - main,
        wall_s=time.perf_counter() - wall,
        consumed=sum(images for made in stamps.values() for _, images in made),
        batches=sum(map(len, stamps.values())),
    )
