"""What `bench_loader.py` wants of another loader: to write samples with its own writer, and to load them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from loader_bench.tutorial import list_views

Form = Literal["views", "parts"]
"""What a sample consists of: `png`, bytes, and `depth`, float32 (H, W, 1); or `row` and the parts that our set stores.

In the form "views" a loader hands over `image`, of Pillow, and `depth`.
"""

Make = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Makes an item of a sample: decodes and warps it."""


class Samples(Protocol):
    """Samples by number; picklable."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> dict[str, Any]: ...


class SourceViews:
    """The views of a folder in DIODE's layout, in the form "views"."""

    def __init__(self, source: Path) -> None:
        self._files = list_views(source)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> dict[str, Any]:
        image, depth = self._files[number]
        return {"png": image.read_bytes(), "depth": np.load(depth)}


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How a loader makes batches.

    Attributes:
        batch_size: Samples of a batch.
        num_workers: Worker processes; they live on after an epoch.
    """

    batch_size: int
    num_workers: int


class Peer(Protocol):
    """Another loader."""

    def write(self, folder: Path, form: Form, samples: Samples) -> None:
        """Write the samples to a new folder."""
        ...

    def load(self, folder: Path, form: Form, make: Make, batching: Batching) -> Iterable[Mapping[str, Any]]:
        """Return the loader, which shuffles; each iteration is an epoch."""
        ...
