"""A few training steps in micro-batches, with what `measure_micro_batch.py` compares of them."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, default_collate

from training.finetuning.finetune import init_model
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.sampler import TrainSampler
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What runs that are compared have in common.

    Attributes:
        count: Optimizer steps.
        batch_size: Samples of a step.
        height, width: Of the crops, in pixels.
        learning_rate: Of AdamW.
    """

    count: int
    batch_size: int
    height: int
    width: int
    learning_rate: float


@dataclass(frozen=True)
class Trace:
    """A run of a few steps: gradient of the first, weights before and after, loss of the last; vectors are flat."""

    gradient: Tensor
    before: Tensor
    after: Tensor
    loss: float


class Observer(Callback):
    """A callback that stores the gradient of the first optimizer step."""

    gradient: Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Store the gradient after the last micro-batch of the first step, when all have been accumulated."""
        # Lightning clears the gradients only when the next step begins.
        if self.gradient is None and trainer.global_step == 1:
            self.gradient = flatten_tensors([parameter.grad for parameter in pl_module.parameters()])


def trace_steps(steps: Steps, source: str, seeds: tuple[int, int], micro_batch: int, frozen: bool) -> Trace:
    """Take the steps in micro-batches.

    Args:
        steps: What the runs have in common.
        source: The set.
        seeds: Of the weights, and of the order and augmentation of samples.
        micro_batch: Samples of a micro-batch.
        frozen: Whether BatchNorm uses the statistics of one whole batch throughout.
    """
    crops = DiodeDepthDataset(
        source,
        where="scene_type == 'outdoor'",
        augment=PairedAugment(height=steps.height, width=steps.width),
        seed=seeds[1],
        shuffle=True,
    )
    options = Hyperparameters(encoder_name="resnet18", learning_rate=steps.learning_rate)
    model, observer = DepthUnet(init_model("none", "resnet18", seeds[0]), options), Observer()
    if frozen:
        freeze_statistics(model, default_collate([crops[position] for position in range(steps.batch_size)])["image"])
    before = flatten_tensors([*model.parameters()])
    trainer = make_quiet_trainer(steps.count, steps.batch_size // micro_batch, observer)
    trainer.fit(model, DataLoader(crops, micro_batch, sampler=TrainSampler(len(crops), steps.batch_size)))
    assert observer.gradient is not None
    loss = float(trainer.callback_metrics["train_loss"])
    return Trace(observer.gradient, before, flatten_tensors([*model.parameters()]), loss)


def make_quiet_trainer(steps: int, accumulation: int, observer: Callback) -> Trainer:
    """Make a CPU trainer that writes no files."""
    return Trainer(
        log_every_n_steps=1,  # DepthUnet gives its loss when values are logged
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=accumulation,
        use_distributed_sampler=False,
        callbacks=[observer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def freeze_statistics(model: DepthUnet, image: Tensor) -> None:
    """Set the statistics of each BatchNorm to those of some images, uint8 (B, 3, H, W), and freeze them."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.momentum = None  # a cumulative mean: after one forward pass, the statistics of these images alone
    with torch.no_grad():
        model.train()(image)  # in training mode a forward pass updates the statistics
    for layer in layers:
        layer.eval()  # Lightning trains each module in the mode it finds it in


def flatten_tensors(tensors: Sequence[Tensor | None]) -> Tensor:
    """Concatenate all values into one vector; None is skipped."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors if tensor is not None])


def relate(found: Trace, reference: Trace) -> dict[str, float]:
    """Compute the `FIGURES` of a run."""
    off = (found.after - reference.after).norm()
    return {
        "gradient": float((found.gradient - reference.gradient).norm() / reference.gradient.norm()),
        "weights": float(off / reference.after.norm()),
        "movement": float(off / (reference.after - reference.before).norm()),
        "loss": abs(found.loss - reference.loss) / reference.loss,
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages and warnings about such short runs."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
