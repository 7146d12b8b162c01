"""The checkpoint whose weights a run begins with: one of `pretrain`, as LightlyTrain reads it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sharding.errors import DataError
from training.network.saved import load_saved
from training.pretraining.check import PLAIN, find_start
from training.pretraining.saved_models import with_models


@contextlib.contextmanager
def start_of_run(source: str | None, cache: Path) -> Iterator[Path | None]:
    """Give the file to begin with while the context lasts, None for no `source`.

    LightlyTrain asks whole modules for their state dicts, where ours are state dicts: see `saved_models`. What it gets
    is a copy with such objects, a file of each rank.

    Args:
        source: Run folder or checkpoint of `pretrain`; nothing in it is run.
        cache: Folder for the copies, which the next launch clears if this one is killed.

    Raises:
        DataError: It is no such checkpoint.
    """
    if source is None:
        yield None
        return
    file = find_start(source)
    content = load_saved(file, PLAIN)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataError(f"{file}: expected {PLAIN}")
    kept = {name: with_models(content, file)[name] for name in ("state_dict", "lightly_train")}
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="start-", dir=cache, ignore_cleanup_errors=True) as made:
        torch.save(kept, Path(made) / file.name)
        yield Path(made) / file.name
