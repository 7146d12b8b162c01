"""The device that is checked, the sizes, and the generated data."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from step_bench.step import StepSize
from store_bench.views import make_set

from training.config import Accelerator, FinetuneConfig, PretrainConfig
from training.launch.devices import find_devices


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large everything is.

    Attributes:
        encoder: torchvision's ResNet, of what is measured and compared in number.
        height, width: Of its training crops, pixels.
        batch: Samples of a step.
        samples: Of the training set, which runs see once: at most 19 steps, of which `finetune` logs each.
        image_side: Side of the square views of pretraining, pixels.
        step_height, step_width, step_batch: Of the steps that are timed.
        repeats: Of what is timed.
    """

    encoder: str
    height: int
    width: int
    batch: int
    samples: int
    image_side: int
    step_height: int
    step_width: int
    step_batch: int
    repeats: int


FULL = Sizes(
    encoder="resnet50", height=256, width=256, batch=8, samples=152, image_side=96,
    step_height=768, step_width=768, step_batch=4, repeats=5,
)  # fmt: skip
TINY = Sizes(
    encoder="resnet18", height=48, width=64, batch=4, samples=16, image_side=32,
    step_height=64, step_width=96, step_batch=2, repeats=3,
)  # fmt: skip
VAL_SAMPLES, LARGE_SAMPLES = 4, 16


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the checks run.

    Attributes:
        accelerator: "cuda" or "cpu".
        sizes: How large everything is.
        folder: For data and runs.
        workers: Loader processes of a run.
        cards: Number of GPUs.
    """

    accelerator: str
    sizes: Sizes
    folder: Path
    workers: int
    cards: int = 0

    @property
    def device(self) -> torch.device:
        """The first device; asking for it may start CUDA in this process."""
        return find_devices(self.accelerator, 1)[0]

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU is checked."""
        return self.accelerator == "cuda"

    @property
    def option(self) -> Accelerator:
        """Value of --accelerator."""
        return "gpu" if self.on_gpu else "cpu"

    @property
    def step_size(self) -> StepSize:
        """What the steps that are timed compute."""
        sizes = self.sizes
        return StepSize(encoder=sizes.encoder, height=sizes.step_height, width=sizes.step_width, batch=sizes.step_batch)

    @property
    def train(self) -> str:
        """The training set."""
        return str(self.folder / "train")

    @property
    def val(self) -> str:
        """The validation set."""
        return str(self.folder / "val")

    @property
    def large(self) -> str:
        """A set whose crops have the size of the steps that are timed."""
        return str(self.folder / "large")

    def make_data(self) -> None:
        """Generate the sets: views of the toy world with a sensor's noise, a quarter larger than the crops."""
        sizes = self.sizes
        for name, samples, height, width in (
            ("train", sizes.samples, sizes.height, sizes.width),
            ("val", VAL_SAMPLES, sizes.height, sizes.width),
            ("large", LARGE_SAMPLES, sizes.step_height, sizes.step_width),
        ):
            make_set(self.folder / name, samples, height * 5 // 4, width * 5 // 4, "zstd")

    def finetune(self, out: str, **options: Any) -> FinetuneConfig:
        """Return the options of a short fine-tuning run; `options` override them."""
        sizes = self.sizes
        given: dict[str, Any] = {
            "set": self.train, "val": self.val, "out": str(self.folder / out), "encoder_name": sizes.encoder,
            "height": sizes.height, "width": sizes.width, "batch_size": sizes.batch, "micro_batch": str(sizes.batch),
            "epochs": 1, "num_workers": self.workers, "accelerator": self.option, "devices": "1",
            "checkpoint_every": "epoch",
        }  # fmt: skip
        return FinetuneConfig(**(given | options))

    def small(self, out: str, **options: Any) -> FinetuneConfig:
        """Return the options of a run of the same steps with a small network, for what is killed, stopped or moved."""
        small = {"encoder_name": "resnet18", "height": 64, "width": 64, "num_workers": min(2, self.workers)}
        return self.finetune(out, **(small | options))

    def pretrain(self, out: str, **options: Any) -> PretrainConfig:
        """Return the options of a short pretraining run; `options` override them."""
        sizes = self.sizes
        given: dict[str, Any] = {
            "sets": (self.train,), "out": str(self.folder / out), "model": f"torchvision/{sizes.encoder}",
            "image_size": sizes.image_side, "batch_size": sizes.batch, "epochs": 1,
            "num_workers": self.workers, "accelerator": self.option, "devices": "1", "checkpoint_every": "epoch",
        }  # fmt: skip
        return PretrainConfig(**(given | options))


def command_of(config: FinetuneConfig | PretrainConfig) -> list[str]:
    """Return the command line of a run: every option that has a value."""
    name = "finetune" if isinstance(config, FinetuneConfig) else "pretrain"
    words = [config.set] if isinstance(config, FinetuneConfig) else list(config.sets)
    for option, value in vars(config).items():
        if option in ("set", "sets") or value is None:
            continue
        flag = option.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return [sys.executable, "-m", "training", name, *words]
