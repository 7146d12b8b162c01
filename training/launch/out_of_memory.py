"""Errors of a device, or of this machine, that has no memory left: recognised, and told in one line with the remedy."""

import contextlib
import re
from collections.abc import Iterator

import torch

from sharding.errors import DataError
from training.launch.worker_errors import causes

# Texts of RuntimeErrors by which torch 2 and CUDA's libraries report it where there is no `torch.OutOfMemoryError`.
_TEXTS = (
    *("CUDA error: out of memory", "CUDA out of memory", "MPS backend out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    "DefaultCPUAllocator: ",
)
# "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free.",
# and "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.": what follows is advice.
_FACTS = re.compile(r"((?:CUDA|MPS backend) out of memory\..*?free\.|DefaultCPUAllocator: .*?bytes)", re.DOTALL)


def describe_lack(error: BaseException) -> str | None:
    """Return what torch says about the memory that ran out, in a line; None if no error in the chain is about that."""
    for one in causes(error):
        if isinstance(one, torch.OutOfMemoryError) or (
            isinstance(one, RuntimeError) and any(text in str(one) for text in _TEXTS)
        ):
            text = str(one)
            facts = _FACTS.search(text)
            return "out of memory: " + " ".join((facts[1] if facts else text.strip().splitlines()[0]).split())
    return None


@contextlib.contextmanager
def explaining_lack(where: str, remedy: str) -> Iterator[None]:
    """Turn an error about missing memory into a line.

    Args:
        where: What was computed, such as a file name: the beginning of the line.
        remedy: What to do: its end.

    Raises:
        DataError: Memory ran out within; other errors stay as they are.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        lack = describe_lack(error)
        if lack is None:
            raise
        raise DataError(f"{where}: {lack.rstrip('.')}; {remedy}") from error
