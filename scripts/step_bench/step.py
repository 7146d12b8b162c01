"""A training step of the depth network on tensors that are on the device already."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from fastai.vision.models.unet import DynamicUnet  # beside training.network.unet: its forward pass is the baseline
from torch import Tensor, nn

from step_bench.ladder import Rung
from training.finetuning.finetune import init_model
from training.model.cost import compute_cost
from training.model.depth_unet import DepthUnet, TensorBatch
from training.model.hyperparameters import Hyperparameters
from training.network.encoder import load_encoder
from training.network.unet import CANVAS_PX


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """What a step computes.

    Attributes:
        encoder: torchvision's ResNet.
        height, width: Of the images, pixels.
        batch: Images of a step.
    """

    encoder: str
    height: int
    width: int
    batch: int


class Step:
    """A network with its optimizer and one batch on a device.

    It is DepthUnet's own forward pass, loss and optimizer, prepared as a Trainer's start does; the Trainer itself, with
    its callbacks and logs, is left out.

    Args:
        size: What is computed.
        rung: How it is computed.
        device: Where.
    """

    def __init__(self, size: StepSize, rung: Rung, device: torch.device) -> None:
        options = Hyperparameters(encoder_name=size.encoder, height=size.height, width=size.width)
        network = (make_fastai_network if rung.forward == "fastai" else make_network)(size.encoder)
        self.device, self._rung = device, rung
        self.model = DepthUnet(copy.deepcopy(network), options, rung.computation).to(device)
        configured: Any = self.model.configure_optimizers()
        self.optimizer: torch.optim.Optimizer = configured["optimizer"]
        self.model.prepare_steps()
        self.batch = make_batch(size, device)

    def __call__(self, batch: TensorBatch | None = None) -> Tensor:
        """Take a step on a batch, or on the constant one, and return its loss; on a GPU it is only queued."""
        batch = batch or self.batch
        with self._rung.formats():
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._rung.bf16):
                loss = self.model.training_loss(batch).mean()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return loss.detach()


@cache
def make_network(encoder: str) -> nn.Module:
    """Build a network once: initialising hundreds of millions of weights takes seconds. Copy it before training."""
    return init_model("none", encoder)


@cache
def make_fastai_network(encoder: str) -> nn.Module:
    """Build fastai's own network with the weights of `make_network`; its forward pass is the original one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the seed of `init_model`
        network: nn.Module = DynamicUnet(load_encoder("none", encoder), n_out=1, img_size=CANVAS_PX)
    return network.train()


def make_batch(size: StepSize, device: torch.device) -> TensorBatch:
    """Make a batch as the loader does, of noise, on a device."""
    drawn, shape = torch.Generator().manual_seed(0), (size.height, size.width)
    image = torch.randint(0, 256, (size.batch, 3, *shape), dtype=torch.uint8, generator=drawn)
    depth = torch.rand((size.batch, 1, *shape), generator=drawn) * 20 + 1
    colour = torch.rand((size.batch, 3), generator=drawn) * 0.4 + 0.8
    tensors = {"image": image, "depth": depth, "valid": depth > 2, "colour": colour, "weight": torch.ones(size.batch)}
    return {name: tensor.to(device) for name, tensor in tensors.items()} | {"key": ["constant"] * size.batch}


@cache
def count_flop(size: StepSize) -> int:
    """Count the floating point operations of forward and backward pass, two for a multiply-add; nothing is computed.

    What checkpointing computes again does not count: it adds nothing to the result.
    """
    cost = compute_cost(size.encoder, size.height, size.width, "32-true", recompute=False)
    return size.batch * cost.step_flop
