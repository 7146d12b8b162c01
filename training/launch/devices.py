"""Which devices a run uses, and what starts its processes: decided before a strategy is made for them."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator

from sharding.errors import UsageError
from training.launch.launcher import explain_mismatch, find_started

Devices = int | str | list[int]

_KINDS: dict[str, type[Accelerator]] = {"cuda": CUDAAccelerator, "mps": MPSAccelerator, "cpu": CPUAccelerator}
_ALIASES = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}


@dataclass(frozen=True)
class Placement:
    """Where a run computes: one process for each device, the same number on every node.

    Attributes:
        devices: Those of this node, one for each of its processes.
        num_nodes: Number of machines.
        external: Whether `torchrun` or SLURM has started all the processes; else Lightning starts all but this one.
    """

    devices: tuple[torch.device, ...]
    num_nodes: int = 1
    external: bool = False

    @property
    def world(self) -> int:
        """Number of processes over all nodes."""
        return len(self.devices) * self.num_nodes

    @property
    def rank(self) -> int:
        """Rank of this process in [0, world), from its environment: known before a process group exists, and after."""
        return self.make_environment().global_rank() if self.external else int(os.environ.get("LOCAL_RANK", 0))

    @property
    def local_rank(self) -> int:
        """Rank of this process among those of its node."""
        return self.make_environment().local_rank() if self.external else self.rank

    @property
    def kind(self) -> str:
        """Type of the devices: "cuda", "mps" or "cpu"."""
        return self.devices[0].type

    def make_environment(self) -> ClusterEnvironment:
        """Make the object from which Lightning reads ranks and addresses.

        Lightning would requeue a SLURM job by itself, from a checkpoint of its own; that is off here.
        """
        if not self.external:
            return LightningEnvironment()
        return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else SLURMEnvironment(auto_requeue=False)

    def trainer_arguments(self) -> dict[str, Any]:
        """Return `accelerator`, `devices` and `num_nodes` of a Lightning trainer."""
        cuda = self.kind == "cuda"
        return {
            "accelerator": "gpu" if cuda else self.kind,  # LightlyTrain compares with this word
            "devices": [device.index for device in self.devices] if cuda else len(self.devices),
            "num_nodes": self.num_nodes,
        }


def place(accelerator: str = "auto", devices: Devices = "auto") -> Placement:
    """Find the devices of this node, and how many nodes there are.

    Processes are started by `torchrun`, by SLURM (`srun` with more than one task), or, on one node, by Lightning. The
    first two have decided how many there are.

    Args:
        accelerator: See `find_devices`.
        devices: See `find_devices`; "auto" is a device for each process that `torchrun` or SLURM started here.

    Raises:
        UsageError: There are no such devices, their number is not that of the processes here, or the nodes have
            unequal numbers of processes.
    """
    started = find_started()
    if started is None:
        return Placement(tuple(find_devices(accelerator, devices)))
    launcher, here = started.launcher, started.here
    try:
        found = find_devices(accelerator, here if devices == "auto" else devices)
    except UsageError as error:
        raise UsageError(
            f"{launcher} started {here} processes on this node, and each must see all {here} devices: {error}; "
            "under SLURM give --gpus-per-node, not --gpus-per-task"
        ) from error
    if len(found) != here:
        raise UsageError(explain_mismatch(str(devices), len(found), started))
    return Placement(tuple(found), started.num_nodes, external=True)


def find_devices(accelerator: str = "auto", devices: Devices = "auto") -> list[torch.device]:
    """Resolve what a user asks for, as Lightning would, to the devices of this node.

    Args:
        accelerator: "auto", "gpu" (CUDA, else MPS), "cuda", "mps" or "cpu".
        devices: How many; or which (a list, or "0,1"); "auto" is all GPUs, or one process on a CPU.

    Raises:
        UsageError: There are no such devices.
    """
    kind = _find_kind(accelerator)
    if devices == "auto":
        devices = int(_KINDS[kind].auto_device_count())
    try:
        parsed = _KINDS[kind].parse_devices(devices)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UsageError(f"devices {devices!r} on {kind}: {error}") from error
    if not parsed:
        raise UsageError(f"devices {devices!r}: expected a number of at least 1, or ids such as 0,1; found no device")
    return list(_KINDS[kind].get_parallel_devices(parsed))


def describe_device(device: torch.device) -> str:
    """Name a device: its type, and the model of a GPU, as "cuda (NVIDIA H100 80GB HBM3)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _find_kind(accelerator: str) -> str:
    wanted = _ALIASES.get(accelerator, (accelerator,))  # in order of preference
    if unknown := [kind for kind in wanted if kind not in _KINDS]:
        raise UsageError(f"no accelerator {unknown[0]!r}; there are {', '.join([*_ALIASES, *_KINDS])}")
    for kind in wanted:
        if _KINDS[kind].is_available():
            return kind
    raise UsageError(f"accelerator {accelerator!r} is not available on this machine; give --accelerator cpu or auto")
