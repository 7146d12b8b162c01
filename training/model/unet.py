"""The depth network: fastai's DynamicUnet on a ResNet body. The only module that imports fastai.

DynamicUnet adds a decoder to any body, with a skip connection wherever the body halves the resolution. Three of its
traps are handled here:

- It runs the body in eval mode to measure its feature sizes, and leaves it in that mode.
- Its skip connections are forward hooks that keep the last activations in memory.
- Its layout, and the number of random values it draws, depend on the image size that it is built for.
"""

from typing import Any

import torch
from fastai.vision.models.unet import DynamicUnet
from torch import Tensor, nn

CANVAS_PX = (64, 64)
"""Image size that every network is built on, whatever it is trained with.

Large enough that each of the ResNet's five halvings changes the size (64, 32, ... 2), so the layout is that of every
larger size. One size for all, so that a seed means the same decoder at every training size, and that building does not
take the time and memory of a large image.
"""


def build_unet(body: nn.Sequential, seed: int = 0) -> nn.Module:
    """Add a randomly initialised decoder to a body.

    The decoder depends on `seed` and on the body's shape, never on its weights: runs that differ in their encoder start
    with the same decoder. The global generator is not changed.

    Args:
        body: From `training.model.encoder`: a ResNet without pooling and classifier; becomes part of the network.
        seed: Seed of the decoder's weights.

    Returns:
        A network from float32 (B, 3, H, W) to (B, 1, H, W), for any H and W (the decoder resizes where a
        halving was rounded); in training mode, all parameters trainable.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet: nn.Module = DynamicUnet(body, n_out=1, img_size=CANVAS_PX)
    unet.register_forward_hook(_release_skips)
    return unet.train()


def _release_skips(unet: nn.Module, inputs: Any, output: Tensor) -> None:
    """Release the skip activations after a forward pass: autograd keeps those it needs, validation needs none."""
    for hook in unet.sfs:  # type: ignore[union-attr]  # fastai's Hooks
        hook.stored = None


def split_parameters(unet: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of the encoder, and all others; a network not made by `build_unet` has no encoder."""
    layers = getattr(unet, "layers", None)
    # layers[0] is the body that DynamicUnet was built on.
    encoder = list(layers[0].parameters()) if isinstance(unet, DynamicUnet) and layers is not None else []
    known = {id(parameter) for parameter in encoder}
    return encoder, [parameter for parameter in unet.parameters() if id(parameter) not in known]


def count_parameters(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
