"""How a training step is computed: what changes its speed and memory, but nothing of the result except rounding."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.network.unet import DepthNetwork


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Switches of a training step; a checkpoint made with one setting continues with any other.

    Attributes:
        channels_last: Store weights and activations with channels last, as the tensor cores of a GPU read them.
        compiled: Compile the network's forward and backward pass for the size of the training images.
        recompute: Compute activations again in the backward pass instead of keeping them.
        fused: Update all weights in one kernel.
    """

    channels_last: bool = False
    compiled: bool = False
    recompute: bool = False
    fused: bool = False

    def prepare(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """Change the layout of a network, and return what computes its training steps.

        Names of modules and weights stay as they are, so checkpoints do not tell how they were computed.

        Args:
            network: On its device.

        Returns:
            A function from float32 (B, 3, H, W) to (B, 1, H, W). A compiled one is for a single size: images of other
            sizes, such as those of validation, are for the network itself, which is not compiled again for each.
        """
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        if isinstance(network, DepthNetwork):
            network.recompute = self.recompute
        # Functions, not modules: a compiled module would enter the state dict as _orig_mod.
        return torch.compile(network.forward, fullgraph=True, dynamic=False) if self.compiled else network.__call__

    def arrange(self, image: Tensor) -> Tensor:
        """Return a batch (B, 3, H, W) in the layout of the weights."""
        return image.contiguous(memory_format=torch.channels_last) if self.channels_last else image


def align_state(optimizer: Optimizer) -> None:
    """Give the optimizer's tensors the layout of their weights, where a checkpoint has another.

    A fused optimizer refuses tensors of different layouts, and others are slow on them.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight).copy_(value)
