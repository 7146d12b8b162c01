"""A plain torch Dataset over loose files: one for each part of a sample."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from loader_bench.peer import Batching, Form, Make, Samples


class LooseFiles(Dataset[dict[str, Any]]):
    """Samples in the form "parts", a folder each."""

    def __init__(self, folder: Path, make: Make) -> None:
        self._folders, self._make = sorted(folder.iterdir()), make

    def __len__(self) -> int:
        return len(self._folders)

    def __getitem__(self, index: int) -> dict[str, Any]:
        folder = self._folders[index]
        return self._make({"row": int(folder.name), **{path.name: path.read_bytes() for path in folder.iterdir()}})


class LoosePeer:
    """Torch's own DataLoader."""

    def write(self, folder: Path, form: Form, samples: Samples) -> None:
        """Write the samples to a new folder."""
        for number in range(len(samples)):
            sample = samples[number]
            into = folder / f"{sample.pop('row'):06d}"
            into.mkdir(parents=True)
            for name, data in sample.items():
                (into / name).write_bytes(data)

    def load(self, folder: Path, form: Form, make: Make, batching: Batching) -> Iterable[Mapping[str, Any]]:
        """Return the loader."""
        return DataLoader(
            LooseFiles(folder, make),
            batch_size=batching.batch_size,
            num_workers=batching.num_workers,
            shuffle=True,
            persistent_workers=batching.num_workers > 0,
        )
