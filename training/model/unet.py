"""The depth network: fastai's DynamicUnet on a ResNet body. The only file that knows fastai.

DynamicUnet puts a decoder behind any body, with a skip connection wherever the body halves the resolution. Three
traps are dealt with here. It runs the body in eval mode to measure it and leaves it there. Its skip connections are
hooks that keep the last activations alive. Its layout, and the random numbers it draws, follow the image size it is
built for.
"""

from typing import Any

import torch
from fastai.vision.models.unet import DynamicUnet
from torch import Tensor, nn

CANVAS_PX = (64, 64)
"""Image size that every network is built on, whatever it is trained with.

Large enough that each of the five halvings is seen, so the layout is that of every larger size. One size for all, so
that a seed means the same decoder at every training size, and building takes neither the time nor the memory of a large
image.
"""


def build_unet(body: nn.Sequential, seed: int = 0) -> nn.Module:
    """Put a randomly initialised decoder behind a body.

    The decoder depends on `seed` and on the body's shape, never on its weights: arms that differ in their encoder start
    with the same decoder. The global generator is left as it was.

    Args:
        body: From `training.model.encoder`: a ResNet without pooling and classifier; becomes part of the network.
        seed: Of the decoder's weights.

    Returns:
        A network from float32 (B, 3, H, W) to (B, 1, H, W), for any H and W (the decoder resizes where halving
        rounded); in training mode, all parameters trainable.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet: nn.Module = DynamicUnet(body, n_out=1, img_size=CANVAS_PX)
    unet.register_forward_hook(_release_skips)
    return unet.train()


def _release_skips(unet: nn.Module, inputs: Any, output: Tensor) -> None:
    """Let go of the skip activations: autograd keeps those it needs, and no validation batch outlives its step."""
    for hook in unet.sfs:  # type: ignore[union-attr]  # fastai's Hooks
        hook.stored = None


def split_parameters(unet: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of the encoder, and the others; a network that `build_unet` did not make has no encoder."""
    layers = getattr(unet, "layers", None)
    encoder = list(layers[0].parameters()) if isinstance(unet, DynamicUnet) and layers is not None else []
    known = {id(parameter) for parameter in encoder}
    return encoder, [parameter for parameter in unet.parameters() if id(parameter) not in known]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
