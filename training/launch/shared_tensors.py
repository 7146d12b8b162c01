"""Tensors in shared memory; one that has no room there is told in a line."""

import contextlib
import os
import re

from torch import Tensor

from sharding.errors import DataError
from sharding.machine.shared_memory import FOLDER, free_bytes, whole_bytes

# Texts of the RuntimeErrors of torch 2 (aten/src/ATen/MapAllocator.cpp). The reason in them is not one: what
# `posix_fallocate` returns is not in `errno`, so it may be "Success (0)".
_FULL = ("unable to allocate shared memory", "No space left on device")


def to_shared(tensor: Tensor) -> Tensor:
    """Move a tensor to shared memory, in place, and return it.

    Raises:
        DataError: There is no room.
    """
    try:
        shared: Tensor = tensor.share_memory_()
    except RuntimeError as error:
        if not any(text in str(error) for text in _FULL):
            raise
        _remove_left(str(error))
        raise DataError(_explain(tensor.nbytes)) from error
    return shared


def _remove_left(text: str) -> None:
    """Remove the file that torch leaves behind when there is no room for its content."""
    if left := re.search(r"</(torch_[0-9_]+)>", text):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(FOLDER, left[1]))


def _explain(wanted: int) -> str:
    free, whole = free_bytes(), whole_bytes()
    there = "" if free is None or whole is None else f", of whose {whole / 1e6:,.0f} MB {free / 1e6:,.0f} MB are free"
    return (
        f"no room for {wanted / 1e6:,.1f} MB in the shared memory, {FOLDER}{there}: give the container more (docker "
        "run --shm-size=...), or run again with fewer --num-workers or a smaller (micro-)batch"
    )
