"""Activation checkpointing: a segment keeps its inputs alone, and is computed again in the backward pass.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", as `torch.utils.checkpoint` does it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Norm = nn.BatchNorm2d | nn.SyncBatchNorm


def recomputed(norms: Sequence[Norm], segment: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Compute a segment whose activations are not kept; gradients and BatchNorm statistics are those of a plain call.

    Args:
        norms: BatchNorm layers of the segment, or of the whole network.
        segment: Function of the inputs; draws no random numbers.
        inputs: Tensors.
    """
    if torch.compiler.is_compiling():  # the compiler keeps the second pass from changing buffers
        return checkpoint(segment, *inputs, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _not_tracking(norms)

    return checkpoint(  # type: ignore[no-any-return]
        segment, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )


@contextlib.contextmanager
def _not_tracking(norms: Sequence[Norm]) -> Iterator[None]:
    """Let BatchNorm layers normalise as before, while their running statistics stay as they are."""
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # track_running_stats = False would save two tensors less than the first pass: refused as not the same.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
