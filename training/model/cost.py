"""What a training step of the depth network costs, computed on tensors without content (torch's meta device).

Exact are the parameters, the floating point operations (two for a multiply-add) and the bytes that autograd keeps for
the backward pass. Gradients of activations are estimated. Not known here is what a device adds: workspace of its
algorithms, and unused parts of memory blocks. Compiled steps are not counted: the compiler keeps less, and decides
what by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from training.model.depth_unet import DepthUnet, TensorBatch
from training.model.hyperparameters import Hyperparameters
from training.model.meta_autocast import MetaAutocast
from training.network.encoder import cut_body, meta_resnet
from training.network.unet import DepthNetwork, build_unet, count_parameters

BATCH_BYTES = 3 + 4 + 1
"""Bytes per pixel of a sample on the device: image uint8, depth float32, valid bool."""

GRADIENTS = 3
"""Gradients of the largest activation that live at once, in the last block, when most is kept: what goes in, what comes
out, and one between. A step on a CPU takes as much, and a tenth of it more for workspace (`tests/training/model`)."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a training step costs.

    Attributes:
        encoder_name: Of the network.
        height: Of the image, pixels.
        width: Of the image, pixels.
        recompute: Whether activations are computed again in the backward pass.
        parameters: Number of parameters.
        kept_bytes: Bytes that are kept of an image for the backward pass, at the moment when they are most.
        sample_bytes: The same, with the sample itself and the gradients of its activations that live at that moment.
        copy_bytes: Bytes of the copies of weights in 16 bits that mixed precision makes; once, whatever the batch.
    """

    encoder_name: str
    height: int
    width: int
    recompute: bool
    parameters: int
    kept_bytes: int
    sample_bytes: int
    copy_bytes: int

    @property
    def forward_flop(self) -> int:
        """Floating point operations of the forward pass, an image."""
        return _count_flop(self.encoder_name, self.height, self.width, self.recompute)[0]

    @property
    def step_flop(self) -> int:
        """Those of forward and backward pass, an image; with what is computed again."""
        return _count_flop(self.encoder_name, self.height, self.width, self.recompute)[1]


def compute_cost(encoder_name: str, height: int, width: int, precision: str, recompute: bool) -> StepCost:
    """Compute the cost of a training step of one image.

    Args:
        encoder_name: One of `training.network.encoder_name.ENCODERS`.
        height: Of the image, pixels.
        width: Of the image, pixels.
        precision: Such as "bf16-mixed", key of `training.model.meta_autocast.DTYPES`.
        recompute: Whether activations are computed again in the backward pass.
    """
    kept = _trace_memory(encoder_name, height, width, precision)
    kept_bytes = kept.recomputed if recompute else kept.plain
    return StepCost(
        encoder_name=encoder_name,
        height=height,
        width=width,
        recompute=recompute,
        parameters=kept.parameters,
        kept_bytes=kept_bytes,
        sample_bytes=kept_bytes + GRADIENTS * kept.largest + BATCH_BYTES * height * width,
        copy_bytes=kept.copies,
    )


class Storages:
    """Distinct pieces of memory, by the tensors in them."""

    def __init__(self) -> None:
        self._bytes: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def add(self, tensor: Tensor) -> Tensor:
        """Add the memory of a tensor, once, and return the tensor."""
        storage = tensor.untyped_storage()  # held, so that no other one gets its id
        self._bytes[id(storage)] = storage.nbytes(), storage
        return tensor

    def noting(self) -> saved_tensors_hooks:
        """Add what autograd keeps in the block."""
        return saved_tensors_hooks(self.add, lambda tensor: tensor)

    def largest(self) -> int:
        """Return the bytes of the largest piece."""
        return max(value for value, _ in self._bytes.values())

    def count(self, *others: "Storages", but: "Storages") -> int:
        """Return the bytes of this and others together, but for some."""
        together = {key: value for one in (self, *others) for key, (value, _) in one._bytes.items()}
        return sum(value for key, value in together.items() if key not in but._bytes)


@dataclass(frozen=True)
class _Kept:
    parameters: int
    plain: int
    recomputed: int
    largest: int
    copies: int


class _Metered(DepthNetwork):
    """A network that notes what each segment of its forward pass is given, and what autograd keeps of it."""

    segments: list[tuple[Storages, Storages]]

    def run_segment(self, segment: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        given, kept = Storages(), Storages()
        for one in inputs:
            given.add(one)
        with kept.noting():
            output = segment(*inputs)
        self.segments.append((given, kept))
        return output


@lru_cache
def _trace_memory(encoder_name: str, height: int, width: int, precision: str) -> _Kept:
    network = _build(encoder_name, _Metered)
    network.segments, rest, weights = [], Storages(), Storages()
    for tensor in (*network.parameters(), *network.buffers()):
        weights.add(tensor)
    with MetaAutocast(precision) as cast, rest.noting():
        _compute_loss(network, height, width)
    copies = Storages()
    for tensor in cast.copies:
        copies.add(tensor)
    fixed = copies.count(but=weights)
    for tensor in cast.copies:
        weights.add(tensor)
    given, kept = zip(*network.segments, strict=True)
    # The backward pass goes from the last segment to the first, and frees what it is done with.
    live = [kept[index].count(*given[: index + 1], but=weights) for index in range(len(given))]
    return _Kept(
        parameters=count_parameters(network),
        plain=rest.count(*kept, but=weights),
        recomputed=max(*live, rest.count(*given, but=weights)),
        largest=kept[-1].largest(),
        copies=fixed,
    )


@lru_cache
def _count_flop(encoder_name: str, height: int, width: int, recompute: bool) -> tuple[int, int]:
    """Count those of the forward pass, and of the whole step."""
    network = _build(encoder_name, DepthNetwork)
    network.recompute = recompute
    with FlopCounterMode(display=False) as counter:
        loss = _compute_loss(network, height, width)
        forward = counter.get_total_flops()
        torch.autograd.backward(loss)
    return forward, counter.get_total_flops()


Network = TypeVar("Network", bound=DepthNetwork)


def _build(encoder_name: str, network_class: type[Network]) -> Network:
    with torch.device("meta"):
        network = build_unet(cut_body(meta_resnet(encoder_name)), network_class=network_class)
    assert isinstance(network, network_class)
    return network


def _compute_loss(network: DepthNetwork, height: int, width: int) -> Tensor:
    """Compute the loss of one image, as a training step does."""
    with torch.device("meta"):
        model = DepthUnet(network, Hyperparameters(height=height, width=width))
        batch = blank_batch(1, height, width, torch.device("meta"))
        return model.loss_sum(model(batch["image"]), batch).mean()


def blank_batch(samples: int, height: int, width: int, device: torch.device) -> TensorBatch:
    """Make a batch as the loader does, of black images, all pixels valid and a metre away."""
    shape = (samples, 1, height, width)
    return {
        "image": torch.zeros((samples, 3, height, width), dtype=torch.uint8, device=device),
        "depth": torch.ones(shape, device=device),
        "valid": torch.ones(shape, dtype=torch.bool, device=device),
        "colour": torch.ones((samples, 3), device=device),
        "weight": torch.ones(samples, device=device),
        "key": [""] * samples,
    }
