"""Chooses the micro-batch of `--micro-batch auto`: estimated from the memory that is free, then tried on a GPU.

All ranks choose the same. Ranks that `torchrun` or SLURM started try together, and what does not fit one is too much
for all. Ranks that Lightning starts are told by rank 0, in their environment, what fitted its device.
"""

import copy
import gc
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from sharding.errors import DataError
from sharding.progress import say
from training.config import FinetuneConfig
from training.finetuning.batches import AUTO, BatchSplit, next_smaller, split_batch
from training.finetuning.memory import BUCKET_BYTES, UPDATE_BYTES, StepMemory, cost_of
from training.finetuning.settled import known_loss, known_name
from training.finetuning.step import make_computation
from training.launch.devices import Placement
from training.launch.memory import least_free_memory, least_of_ranks
from training.launch.out_of_memory import describe_lack
from training.lightning.names import AVERAGES
from training.model.cost import blank_batch
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.model.meta_autocast import DTYPES
from training.network.unet import count_parameters

_TRIED = "DEPTHSTREAM_MICRO_BATCH"  # what fitted rank 0, for the ranks that Lightning starts

_WEIGHT_BYTES = 4  # per parameter: of an average of the weights, which Lightning keeps on the training device
_MOMENT_BYTES = 8  # per parameter: AdamW's two moments, which a first step makes after its gradients

Attempt = Callable[[int], None]
"""Takes a step of a micro-batch; raises what torch raises if the memory does not suffice."""


def choose_split(config: FinetuneConfig, unet: nn.Module, placement: Placement) -> BatchSplit:
    """Split the batch, if it is up to us by the memory of the devices; all ranks must call this.

    Raises:
        UsageError: The batch does not divide evenly.
        DataError: A step of a single sample does not fit a GPU.
    """
    if config.micro_batch != AUTO:
        return split_batch(config.batch_size, placement.world, config.micro_batch, 0)
    need = StepMemory.estimate(replace(cost_of(config), parameters=count_parameters(unet)), placement.world)
    free = least_free_memory(placement)
    if free is not None and free < need.least:
        say(
            f"--micro-batch auto: about {need.least / 1e9:.1f} GB are needed for a single sample of {config.height} x "
            f"{config.width} pixels, the device with the least has {free / 1e9:.1f} GB free: this may run out of "
            f"memory; {_SMALLER}"
        )
    split = split_batch(config.batch_size, placement.world, AUTO, need.fitting(free))
    if placement.kind != "cuda":
        return split
    return split_batch(config.batch_size, placement.world, str(_try(config, unet, placement, split)), 0)


_SMALLER = "--checkpoint-activations and --precision bf16-mixed take less, and so does a smaller --height and --width"


def _try(config: FinetuneConfig, unet: nn.Module, placement: Placement, split: BatchSplit) -> int:
    """Return the largest micro-batch, from the estimated one down, of which all ranks have computed a step."""
    if not placement.external and placement.rank > 0:
        return int(os.environ[_TRIED])
    attempt = partial(take_step, config, unet, placement.devices[placement.local_rank], placement.world)
    agree = partial(least_of_ranks, placement) if placement.external and placement.world > 1 else int
    micro_batch = find_fitting(split, attempt, agree)
    os.environ[_TRIED] = str(micro_batch)
    return micro_batch


def find_fitting(split: BatchSplit, attempt: Attempt, agree: Callable[[int], int]) -> int:
    """Halve the micro-batch until a step fits all ranks.

    Args:
        split: The first to try.
        attempt: Takes a step.
        agree: Returns the least of the ranks' numbers.

    Raises:
        DataError: A single sample does not fit.
    """
    size, share = split.micro_batch, split.micro_batch * split.accumulation
    while not agree(_fits(attempt, size)):
        if size == 1:
            raise DataError(f"--micro-batch auto: a step of a single sample does not fit the memory; {_SMALLER}")
        smaller = next_smaller(share, size)
        say(f"--micro-batch auto: a step of {size} samples does not fit the memory; trying {smaller}")
        size = smaller
    return size


def _fits(attempt: Attempt, size: int) -> bool:
    """Take a step; tell whether the memory suffices."""
    fits = True
    try:
        attempt(size)
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if describe_lack(error) is None:
            raise
        fits = False
    # Here, because the error held the tensors of the step while it was handled.
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return fits


def take_step(config: FinetuneConfig, unet: nn.Module, device: torch.device, world: int, micro_batch: int) -> None:
    """Take a step on a device, without a trace: with a copy of the network, and without drawing random numbers.

    What the optimizer keeps, DDP if there are several ranks, and an average of the weights, is stood for by memory that
    nothing uses. The step is not compiled, which would take a minute; the compiler keeps less.

    Args:
        config: Options.
        unet: The network, on the CPU, or where it will be trained.
        device: Where to compute.
        world: Number of ranks.
        micro_batch: Samples.

    Raises:
        torch.OutOfMemoryError: The memory does not suffice; or another RuntimeError, see `describe_lack`.
    """
    average = set(AVERAGES) & set(config.lightning or {})
    others = _MOMENT_BYTES + BUCKET_BYTES * (world > 1) + _WEIGHT_BYTES * bool(average)
    parameters = count_parameters(unet)
    kept = torch.empty(parameters * others, dtype=torch.uint8, device=device)
    options = Hyperparameters(
        encoder_name=known_name(config),
        height=config.height,
        width=config.width,
        loss=known_loss(config),
        gradient_weight=config.gradient_weight,
    )
    computation = replace(make_computation(config, device.type), compiled=False)
    model = DepthUnet(copy.deepcopy(unet), options, computation).to(device)
    model.prepare_steps()
    batch, dtype = blank_batch(micro_batch, config.height, config.width, device), DTYPES[config.precision]
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = model.training_loss(batch).mean()
    torch.autograd.backward(loss)
    del loss
    update = torch.empty(parameters * UPDATE_BYTES, dtype=torch.uint8, device=device)  # the activations are gone
    del kept, update
