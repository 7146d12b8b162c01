"""A DataLoader for a dataset and a sampler: worker processes, their start method, their lifetime."""

import multiprocessing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sharding.machine.main_guard import check_main_guard
from sharding.machine.sockets import shorten_socket_paths
from sharding.stores.opening import has_remote_client
from training.launch.whereabouts import Whereabouts, note
from training.loading.bad_samples import collate_marked
from training.loading.read_ahead import AHEAD_BYTES, ReadAhead
from training.loading.sampler import EvalSampler, TrainSampler
from training.loading.shared_batch import collate
from training.loading.shared_blocks import MAPPED
from training.loading.view_batch import ViewBatch
from training.loading.worker import start_fork_server, start_worker

StartMethod = Literal["auto", "fork", "forkserver", "spawn"]


@runtime_checkable
class ReadsAhead(Protocol):
    """A dataset that can read ahead."""

    def reading_ahead(self, read_ahead: ReadAhead) -> Dataset[Any]:
        """Return the same dataset, reading through `read_ahead`."""
        ...


@runtime_checkable
class MakesBatches(Protocol):
    """A dataset that can write its samples into a batch, instead of handing them over to be copied there."""

    def making_batches(self) -> Dataset[Any]:
        """Return the same dataset, whose `__getitems__` returns a `ViewBatch`, or items if it has no views."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How batches are made.

    Attributes:
        batch_size: Samples of a batch of this process (the micro-batch).
        num_workers: Worker processes; 0 loads in this process.
        pin_memory: Whether batches are copied to page-locked memory, for faster transfer to a GPU.
        start_method: How workers start. "auto" forks for local sets, and uses a fork server for remote ones and in a
            process that has opened one, since a network client does not survive a fork.
        timeout_s: Longest wait for a batch, seconds; 0 waits as long as the workers live, whose own waits have limits
            (`training.loading.read_ahead.WAIT_S`). With a limit above 0, torch notices the death of a fork server's
            worker only when the limit has passed, and the error names no sample.
        prefetch_factor: Batches that a worker makes in advance; None: torch's number, 2.
        persistent_workers: Whether workers live from epoch to epoch, and keep their open stores.
        ahead_bytes: Bytes that a worker has in flight for the next batches (`training.loading.read_ahead`); 0 for none.
            None: `AHEAD_BYTES` for a remote set, 0 for a local one.
        preload: Modules that the fork server imports once for all workers.
    """

    batch_size: int
    num_workers: int = 0
    pin_memory: bool = False
    start_method: StartMethod = "auto"
    timeout_s: float = 0.0
    prefetch_factor: int | None = None
    persistent_workers: bool = True
    ahead_bytes: int | None = None
    preload: tuple[str, ...] = ("training.loading.dataset",)


def build_loader(
    dataset: Dataset[Any], sampler: Sampler[Any], loading: Loading, collate_fn: Callable[[list[Any]], Any] | None = None
) -> "DataLoader[Any]":
    """Make the loader.

    Without `collate_fn` tensors are stacked and keys become a list: `{"image": (B, 3, H, W), ..., "key": [B strings]}`.
    If a dataset marks damaged samples, a batch has their marks too, see `training.loading.bad_samples`.
    The loader has its own random generator: iterating would otherwise draw from torch's global one.
    """
    if collate_fn is None and isinstance(dataset, MakesBatches):
        dataset = dataset.making_batches()
    return _Loader(
        _read_ahead(dataset, sampler, loading),
        batch_size=loading.batch_size,
        sampler=sampler,
        num_workers=loading.num_workers,
        pin_memory=loading.pin_memory,
        collate_fn=partial(_finish, collate_fn or collate),
        generator=torch.Generator().manual_seed(0),
        **_worker_options(dataset, loading),
    )


class _Loader(DataLoader[Any]):
    """A DataLoader whose workers' memory is unmapped when they have ended: `MAPPED` keeps it until then."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        # Persistent workers have the same iterator in each epoch: to drop their blocks twice does nothing.
        workers = [worker.pid for worker in getattr(batches, "_workers", ())]
        weakref.finalize(batches, MAPPED.drop, workers).atexit = False
        return batches


def _worker_options(dataset: Dataset[Any], loading: Loading) -> dict[str, Any]:
    """Collect the DataLoader options that torch accepts only with workers."""
    if loading.num_workers == 0:
        return {}
    method = start_method(dataset, loading)
    shorten_socket_paths()
    context = multiprocessing.get_context(method)
    if method != "fork":
        check_main_guard()
    if method == "forkserver":
        context.set_forkserver_preload(list(loading.preload))
        start_fork_server()  # now, because torch would start it without blocking the signals
    return {
        "multiprocessing_context": context,
        "persistent_workers": loading.persistent_workers,
        "prefetch_factor": loading.prefetch_factor,
        "timeout": loading.timeout_s,
        "worker_init_fn": partial(start_worker, whereabouts=Whereabouts(loading.num_workers)),
    }


def _finish(collate_fn: Callable[[list[Any]], Any], items: list[Any] | ViewBatch) -> Any:
    """Make or collate the items of a batch, the last thing that is done with its samples."""
    batch = items.fill() if isinstance(items, ViewBatch) else collate_marked(collate_fn, items)
    note("")
    return batch


def _read_ahead(dataset: Dataset[Any], sampler: Sampler[Any], loading: Loading) -> Dataset[Any]:
    """Return the dataset, reading ahead if that is wanted and the sampler can tell the upcoming batches."""
    limit_bytes = ahead_bytes(dataset, loading)
    if limit_bytes and isinstance(dataset, ReadsAhead) and isinstance(sampler, TrainSampler | EvalSampler):
        return dataset.reading_ahead(ReadAhead(partial(sampler.upcoming, loading.batch_size), limit_bytes))
    return dataset


def ahead_bytes(dataset: Dataset[Any], loading: Loading) -> int:
    """Return the bytes in flight per worker: the option, or for None what this dataset needs."""
    if loading.ahead_bytes is not None:
        return loading.ahead_bytes
    return AHEAD_BYTES if getattr(dataset, "remote", False) else 0


def start_method(dataset: Dataset[Any], loading: Loading) -> str:
    """Return the start method of workers: the option, or for "auto" what this dataset needs."""
    if loading.start_method != "auto":
        return loading.start_method
    return "forkserver" if getattr(dataset, "remote", False) or has_remote_client() else "fork"
