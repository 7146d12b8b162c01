"""The memory that is free on the devices of a run, the same number on all ranks.

It decides how a batch is split, and ranks that split it differently would wait for each other for ever. So the least of
all devices counts, asked before any rank has used its own:

- one rank asks its device;
- ranks that Lightning starts are told by rank 0, in their environment, what it found on all devices of the node;
- ranks that `torchrun` or SLURM started ask their own and agree on the least.
"""

import os
import subprocess
import sys

import torch
from torch import distributed

from training.launch.devices import Placement
from training.launch.group import start_group

_LEAST = "DEPTHSTREAM_LEAST_MEMORY"  # bytes, for the ranks that Lightning starts

# In a process of its own: asking a device takes half a GB on it for as long as the process lives.
_ASK = "import sys, torch; print(min(torch.cuda.mem_get_info(int(index))[0] for index in sys.argv[1:]))"


def least_free_memory(placement: Placement) -> int | None:
    """Return the bytes that are free on the device that has the least of all ranks; None on CPUs, which share theirs.

    All ranks must call this.
    """
    if placement.kind != "cuda":
        return None
    if placement.world == 1:
        return _free(placement.devices[0])
    if placement.external:
        return least_of_ranks(placement, _free(placement.devices[placement.local_rank]))
    if placement.rank == 0:
        indices = [str(device.index) for device in placement.devices]
        command = [sys.executable, "-P", "-c", _ASK, *indices]  # -P: nothing is imported from the current folder
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        os.environ[_LEAST] = done.stdout.strip()  # inherited by the processes that Lightning starts
    return int(os.environ[_LEAST])


def least_of_ranks(placement: Placement, own: int) -> int:
    """Return the least of the ranks' numbers; starts their process group."""
    start_group(placement)
    on_gpu = placement.kind == "cuda"
    least = torch.tensor(own, device=placement.devices[placement.local_rank] if on_gpu else "cpu")
    distributed.all_reduce(least, distributed.ReduceOp.MIN)
    return int(least)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]
