"""The depth network: the layers of fastai's DynamicUnet on a ResNet body, with a forward pass of their own.

fastai builds the network, so its layers, their names and their initial weights are DynamicUnet's. Its forward pass is
not used, though the numbers are the same, bit for bit:

- its skip connections are forward hooks, which keep the last activations in memory and break graphs of `torch.compile`;
- its output is a tensor subclass, which makes every later operation slower and cannot be compiled.

Two more of its traps are handled here: it runs the body in eval mode to measure its feature sizes, and leaves it in
that mode; and its layout, and the number of random values it draws, depend on the image size that it is built for.

The only module that imports fastai.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from fastai.vision.models.unet import DynamicUnet, UnetBlock
from torch import Tensor, nn
from torch.nn import functional as F

from training.network.float32 import without_autocast
from training.network.recompute import Norm, recomputed
from training.runfolder import SCRATCH

CANVAS_PX = (64, 64)
"""Image size that every network is built on, whatever it is trained with.

Large enough that each of the ResNet's five halvings changes the size (64, 32, ... 2), so the layout is that of every
larger size. One size for all, so that a seed means the same decoder at every training size, and that building does not
take the time and memory of a large image.
"""

_SKIPS = (2, 4, 5, 6)
"""Children of the body before each halving: stem (stride 2), layer1 (4), layer2 (8), layer3 (16)."""

_SEGMENTS = ((0, 3), (3, 5), (5, 6), (6, 7), (7, 8))
"""Children of the body that are computed again together, if activations are: no skip lies within one."""


class DepthNetwork(nn.Module):
    """DynamicUnet with an explicit forward pass; its state dict has DynamicUnet's names.

    Args:
        unet: A DynamicUnet on a ResNet body, as `build_unet` makes it; its layers are taken over.

    Attributes:
        layers: DynamicUnet's: body, BatchNorm, ReLU, middle, four decoder blocks, the last upsampling, two without
            weights (resize, append the image), the last block, and the 1 x 1 convolution that gives z.
        recompute: Whether the backward pass computes activations again instead of keeping all, to the same numbers.
        source: Where the encoder's weights are from: the run folder or file that `init_model` was given, or "none".
    """

    def __init__(self, unet: DynamicUnet) -> None:
        super().__init__()
        self.layers = nn.ModuleList(list(unet.layers)[:-1])  # the last one makes the output a tensor subclass
        self.recompute = False
        self.source = SCRATCH
        for block in self.layers[4:8]:
            block.hook = None  # type: ignore[assignment]  # it kept the activations of its skip connection

    def forward(self, image: Tensor) -> Tensor:
        """Compute z, to which `DepthUnet` adds the mean log depth.

        Args:
            image: float32 (B, 3, H, W), normalised.

        Returns:
            float32 (B, 1, H, W), under mixed precision too.
        """
        body, norm, relu, middle, *blocks, upsample, _, _, last, head = self.layers
        layers = list(body.children())
        features, skips = image, []
        for begin, end in _SEGMENTS:
            features = self.run_segment(partial(_chain, layers[begin:end]), features)
            if end - 1 in _SKIPS:
                skips.append(features)
        features = self.run_segment(partial(_chain, [norm, relu, middle]), features)
        for block in blocks:
            features = self.run_segment(partial(_merge, block), features, skips.pop())
        features = self.run_segment(partial(_append, upsample, last), features, image)
        with without_autocast(features):  # bfloat16 would round z, the log of depth: by 0.8 % of depth at worst
            z: Tensor = head(features.float())
        return z

    def run_segment(self, segment: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Compute a part of the forward pass, such that its activations are kept or computed again.

        Args:
            segment: Function of the inputs, with layers of this network.
            inputs: Float (B, C, H, W) each.
        """
        if not (self.recompute and torch.is_grad_enabled()):
            return segment(*inputs)
        return recomputed([module for module in self.modules() if isinstance(module, Norm)], segment, *inputs)


def _chain(layers: Sequence[nn.Module], features: Tensor) -> Tensor:
    for layer in layers:
        features = layer(features)
    return features


# No activation of these two is bound to a name: in evaluation it goes as soon as the next one is there.


def _merge(block: UnetBlock, features: Tensor, skip: Tensor) -> Tensor:
    """Compute what a `UnetBlock` computes of its input and its skip connection."""
    made: Tensor = block.conv2(block.conv1(block.relu(_join(block.shuf(features), block.bn(skip)))))
    return made


def _append(upsample: nn.Module, last: nn.Module, features: Tensor, image: Tensor) -> Tensor:
    """Enlarge to the size of the image, append the image, and compute the last block."""
    made: Tensor = last(_join(upsample(features), image))
    return made


def _join(features: Tensor, skip: Tensor) -> Tensor:
    """Concatenate the channels of both; where a halving was rounded, enlarge or shrink by one row or column first."""
    if features.shape[-2:] != skip.shape[-2:]:
        features = F.interpolate(features, skip.shape[-2:], mode="nearest")
    return torch.cat([features, skip], dim=1)


def build_unet(body: nn.Sequential, seed: int = 0, network_class: type[DepthNetwork] = DepthNetwork) -> DepthNetwork:
    """Add a randomly initialised decoder to a body.

    The decoder depends on `seed` and on the body's shape, never on its weights: runs that differ in their encoder start
    with the same decoder. The global generator is not changed.

    Args:
        body: From `training.network.encoder`: a ResNet without pooling and classifier; becomes part of the network.
        seed: Seed of the decoder's weights.
        network_class: What computes the forward pass.

    Returns:
        A network from float32 (B, 3, H, W) to (B, 1, H, W), for any H and W (the decoder resizes where a
        halving was rounded); in training mode, all parameters trainable.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_class(DynamicUnet(body, n_out=1, img_size=CANVAS_PX))
    return network.train()


def split_parameters(unet: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of the encoder, and all others; a network not made by `build_unet` has no encoder."""
    encoder = list(unet.layers[0].parameters()) if isinstance(unet, DepthNetwork) else []
    known = {id(parameter) for parameter in encoder}
    return encoder, [parameter for parameter in unet.parameters() if id(parameter) not in known]


def count_parameters(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
