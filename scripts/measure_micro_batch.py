"""Measure what the micro-batch changes in training, through BatchNorm and otherwise; on generated data.

    python scripts/measure_micro_batch.py [--json] [--batch-size N] [--micro-batches N N ...] [--steps N] [--seeds N]

Each run takes the same steps on the same samples from the same weights, as `finetune` does but without clipping, and
accumulates the gradient over micro-batches of another size: a cut. All cuts are compared with the first one, twice:
with live BatchNorm statistics, those of each micro-batch, and with frozen ones, so that the output of a sample does not
depend on the rest of its micro-batch. The yardstick is a run of the first cut on other samples.
"""

import contextlib
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, default_collate

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.config import ShardDiodeConfig
from sharding.errors import UsageError
from sharding.making.create import shard_diode
from sharding.options import option
from sharding.progress import say
from sharding.toyworld import make_diode
from training.finetuning.finetune import init_model
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.sampler import TrainSampler
from training.model.depth_unet import DepthUnet, Hyperparameters


@dataclass(frozen=True, kw_only=True)
class MicroBatchConfig:
    """Options of `scripts/measure_micro_batch.py`."""

    batch_size: int = option(8, "samples of an optimizer step")
    micro_batches: tuple[int, ...] = option((8, 4, 2), "micro-batch sizes; the first is the reference", metavar="N")
    steps: int = option(2, "optimizer steps of each run")
    seeds: int = option(3, "repeats, each with other weights and samples")
    height: int = option(48, "height of the crops", metavar="PX")
    width: int = option(64, "width of the crops", metavar="PX")
    learning_rate: float = option(1e-4, "learning rate of AdamW")


FIGURES = {
    "gradient": "of the first step, by its norm",
    "weights": "after the last step, by their norm",
    "movement": "weights after the last step, by the norm of their change in all steps",
    "loss": "of the last step",
}
"""Differences between a cut and the reference, each relative to a quantity of the reference."""


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
            self.gradient = flatten([parameter.grad for parameter in pl_module.parameters()])


def run(config: MicroBatchConfig) -> Outcome:
    """Measure all cuts.

    Raises:
        UsageError: A micro-batch size does not divide the batch size, or there is only one.
    """
    if len(config.micro_batches) < 2 or any(size < 1 or config.batch_size % size for size in config.micro_batches):
        raise UsageError(
            f"--micro-batches {' '.join(map(str, config.micro_batches))}: expected two sizes or more, each a divisor "
            f"of the batch of {config.batch_size}"
        )
    with tempfile.TemporaryDirectory() as folder, quiet():
        source = make_set(Path(folder), config)
        runs = [compare_cuts(config, source, seed) for seed in range(config.seeds)]
    rows = [{"statistics": kind, "cut": cut} | summarize([one[kind, cut] for one in runs]) for kind, cut in runs[0]]
    return Outcome(data={"config": asdict(config), "figures": FIGURES, "rows": rows}, text=make_table(config, rows))


def make_set(folder: Path, config: MicroBatchConfig) -> str:
    """Generate a set with samples for all steps and return its path."""
    # More views than a run takes: some are indoors, and the yardstick draws its samples from the same set.
    make_diode(str(folder / "toy"), images=3 * config.batch_size * config.steps, height=64, width=96, seed=0)
    shard_diode(
        ShardDiodeConfig(source=str(folder / "toy"), set=str(folder / "set"), split="train", allow_bad=1000, workers=1)
    )
    return str(folder / "set")


def compare_cuts(config: MicroBatchConfig, source: str, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Compute the figures of each cut but the first, with live and with frozen statistics, and of other samples."""
    figures = {}
    first, *others = config.micro_batches
    for frozen in (False, True):
        kind = "frozen" if frozen else "live"
        say(f"seed {seed}, {kind} statistics")
        reference = train(config, source, (seed, seed), first, frozen)
        for size in others:
            cut = f"{config.batch_size // size} x {size}"
            figures[kind, cut] = relate(train(config, source, (seed, seed), size, frozen), reference)
        if not frozen:
            another = train(config, source, (seed, seed + config.seeds), first, frozen)
            figures[kind, "other samples"] = relate(another, reference)
    return figures


def train(config: MicroBatchConfig, source: str, seeds: tuple[int, int], micro_batch: int, frozen: bool) -> Trace:
    """Take the steps in micro-batches.

    Args:
        config: Options of the measurement.
        source: The set.
        seeds: Of the weights, and of the order and augmentation of samples.
        micro_batch: Samples of a micro-batch.
        frozen: Whether BatchNorm uses the statistics of one whole batch throughout.
    """
    crops = DiodeDepthDataset(
        source,
        where="scene_type == 'outdoor'",
        augment=PairedAugment(height=config.height, width=config.width),
        seed=seeds[1],
        shuffle=True,
    )
    options = Hyperparameters(encoder_name="resnet18", learning_rate=config.learning_rate)
    model, observer = DepthUnet(init_model("none", "resnet18", seeds[0]), options), Observer()
    if frozen:
        freeze_statistics(model, default_collate([crops[position] for position in range(config.batch_size)])["image"])
    before = flatten([*model.parameters()])
    trainer = make_trainer(config.steps, config.batch_size // micro_batch, observer)
    trainer.fit(model, DataLoader(crops, micro_batch, sampler=TrainSampler(len(crops), config.batch_size)))
    assert observer.gradient is not None
    loss = float(trainer.callback_metrics["train_loss"])
    return Trace(observer.gradient, before, flatten([*model.parameters()]), loss)


def make_trainer(steps: int, accumulation: int, observer: Callback) -> Trainer:
    """Make a CPU trainer that writes no files."""
    return Trainer(
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
        model.train()(image)
    for layer in layers:
        layer.eval()  # Lightning trains each module in the mode it finds it in


def flatten(tensors: Sequence[Tensor | None]) -> Tensor:
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


def summarize(repeats: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Compute median, least and largest value of each figure."""
    columns = {name: [one[name] for one in repeats] for name in FIGURES}
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in columns.items()
    }


def make_table(config: MicroBatchConfig, rows: list[dict[str, Any]]) -> str:
    """Format the figures as text, a line a cut."""
    first = config.micro_batches[0]
    lines = [
        f"{config.steps} steps of {config.batch_size} crops of {config.height} x {config.width} px, ResNet-18 U-Net: "
        f"relative difference to {config.batch_size // first} x {first}",
        f"median (min - max) of {config.seeds} seeds",
        *(f"  {name}: {what}" for name, what in FIGURES.items()),
        f"{'statistics':<11}{'cut':<15}" + "".join(f"{name:<29}" for name in FIGURES),
    ]
    for row in rows:
        shown = [f"{row[name]['median']:.1e} ({row[name]['min']:.1e} - {row[name]['max']:.1e})" for name in FIGURES]
        lines.append(f"{row['statistics']:<11}{row['cut']:<15}" + "".join(f"{text:<29}" for text in shown))
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages and warnings about such short runs."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


COMMAND = Command(
    name="scripts/measure_micro_batch.py",
    config=MicroBatchConfig,
    runner=f"{__name__}:run",
    help="measure what the micro-batch changes in training, through BatchNorm and otherwise; on generated data",
    examples=(
        "scripts/measure_micro_batch.py",
        "scripts/measure_micro_batch.py --json > micro_batch.json",
        "scripts/measure_micro_batch.py --batch-size 16 --micro-batches 16 8 4 --height 128 --width 192 --seeds 1",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
