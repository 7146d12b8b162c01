"""Which devices a run uses, decided before a strategy is made for them."""

import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator

from sharding.errors import UsageError

_KINDS: dict[str, type[Accelerator]] = {"cuda": CUDAAccelerator, "mps": MPSAccelerator, "cpu": CPUAccelerator}
_ALIASES = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}


def find_devices(accelerator: str = "auto", devices: int | str | list[int] = "auto") -> list[torch.device]:
    """Resolve what a user asks for, as Lightning would, to the devices of this node.

    Args:
        accelerator: "auto", "gpu" (CUDA, else MPS), "cuda", "mps" or "cpu".
        devices: How many; or which (a list, or "0,1"); "auto" is all GPUs, or one process on a CPU (as many as
            `torchrun` started, below it).

    Raises:
        UsageError: There are no such devices.
    """
    kind = _find_kind(accelerator)
    if devices == "auto":
        devices = _count_all(kind)
    try:
        parsed = _KINDS[kind].parse_devices(devices)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UsageError(f"devices {devices!r} on {kind}: {error}") from error
    if not parsed:
        raise UsageError(f"devices {devices!r} are none; expected a number from 1, or ids such as 0,1")
    return list(_KINDS[kind].get_parallel_devices(parsed))


def launched() -> bool:
    """Whether `torchrun` started this process, one of several."""
    return bool(TorchElasticEnvironment.detect())


def _count_all(kind: str) -> int:
    if kind == "cpu" and launched():
        return int(TorchElasticEnvironment().world_size())
    return int(_KINDS[kind].auto_device_count())


def _find_kind(accelerator: str) -> str:
    wanted = _ALIASES.get(accelerator, (accelerator,))
    if unknown := [kind for kind in wanted if kind not in _KINDS]:
        raise UsageError(f"no accelerator {unknown[0]!r}; there are {', '.join([*_ALIASES, *_KINDS])}")
    for kind in wanted:
        if _KINDS[kind].is_available():
            return kind
    raise UsageError(f"accelerator {accelerator!r} is not available on this machine; give --accelerator cpu or auto")
