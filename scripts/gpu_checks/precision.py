"""The numbers: a step in float32 against the CPU, 16-bit against float32, evaluation and prediction against the CPU."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpu_checks.bench import Bench
from gpu_checks.check import Check, bounded, unable
from gpu_checks.runs import losses, train
from sharding.reading.shard_set import ShardSet
from training.config import Accelerator, EvaluateConfig, FinetuneConfig, PredictConfig
from training.depth_sets.subsets import choose_subsets
from training.evaluation import evaluate, predict
from training.finetuning import finetune
from training.finetuning.batches import split_batch
from training.finetuning.depth_data import make_data
from training.finetuning.settled import settle_loss
from training.finetuning.step import make_hyperparameters
from training.model.depth_unet import DepthUnet
from training.network.float32 import full_float32
from training.runfolder import CHECKPOINTS_NAME

LIMIT_S = 95
FIRST_BOUND, NOISE_BOUND, DEPTH_BOUND = 1e-4, 0.1, 1e-3
"""Relative: of the first loss, in float32 on two devices; of the last losses, in 16-bit; of metrics and depths."""


def train_float32(bench: Bench) -> Iterator[Check]:
    """Train in true float32; the first loss is compared with that of one forward pass on the CPU."""
    config = bench.finetune("float32")
    with full_float32():
        finetune.run(config)
        found, expected = losses(Path(config.out)), _first_loss(config)
    shutil.rmtree(Path(config.out) / CHECKPOINTS_NAME)
    yield bounded("float32_first_loss", abs(found[0] / expected - 1), FIRST_BOUND, device=found[0], cpu=expected)
    finite = all(map(math.isfinite, found))
    yield Check(name="float32_losses", ok=finite, why="" if finite else "not finite", figures={"losses": found})


def _first_loss(config: FinetuneConfig) -> float:
    """Compute the loss of the first step on the CPU."""
    subsets = choose_subsets(config)
    config = settle_loss(config, subsets.kind)
    data = make_data(config, subsets, split_batch(config.batch_size, 1, config.micro_batch, 0), pin_memory=False)
    unet = finetune.init_model(config.encoder, config.encoder_name, config.seed)
    model = DepthUnet(unet, make_hyperparameters(config, data))
    batch = next(iter(data.train_loader))
    with torch.no_grad():
        return float(model.loss_sum(model(batch["image"]), batch).mean())


def infer(bench: Bench) -> Iterator[Check]:
    """Evaluate and predict with a small network, on the device and on the CPU."""
    folder = bench.folder / "small"
    with full_float32():
        finetune.run(bench.small("small"))
    places: dict[str, Accelerator] = {"device": bench.option, "cpu": "cpu"}
    metrics = {name: _evaluate(bench, folder, accelerator) for name, accelerator in places.items()}
    worst = max(abs(metrics["device"][name] / value - 1) for name, value in metrics["cpu"].items() if value)
    yield bounded("evaluate", worst, DEPTH_BOUND, device=metrics["device"], cpu=metrics["cpu"])
    image = bench.folder / "photo.png"
    Image.fromarray(ShardSet(bench.val).read([0])[0].image).save(image)
    depths = {name: _predict(bench, folder, image, name, accelerator) for name, accelerator in places.items()}
    worst = float(np.abs(depths["device"] / depths["cpu"] - 1).max())
    yield bounded("predict", worst, DEPTH_BOUND, median_m=float(np.median(depths["cpu"])))
    shutil.rmtree(folder / CHECKPOINTS_NAME)


def _evaluate(bench: Bench, folder: Path, accelerator: Accelerator) -> dict[str, float]:
    options: dict[str, Any] = {"run": str(folder), "set": bench.val, "checkpoint": "best", "num_workers": 0}
    outcome = evaluate.run(EvaluateConfig(**options, accelerator=accelerator))
    found: dict[str, float] = json.loads(Path(outcome.data["file"]).read_text())["metrics"]["headline"]
    return found


def _predict(bench: Bench, folder: Path, image: Path, name: str, accelerator: Accelerator) -> NDArray[np.float32]:
    out = bench.folder / f"predict-{name}"
    predict.run(
        PredictConfig(run=str(folder), checkpoint="best", images=(str(image),), out=str(out), accelerator=accelerator)
    )
    depth: NDArray[np.float32] = np.load(out / "photo.npy")
    return depth


def train_bf16(bench: Bench) -> Iterator[Check]:
    """Train in bfloat16."""
    yield _train_half(bench, "bf16_losses", "bf16-mixed")


def train_fp16(bench: Bench) -> Iterator[Check]:
    """Train in half precision; the first steps may overflow, and are skipped then."""
    yield _train_half(bench, "fp16_losses", "16-mixed")


def _train_half(bench: Bench, name: str, precision: str) -> Check:
    if not bench.on_gpu:
        return unable(name, "16-bit is checked on a GPU")
    found, expected = train(bench.small(name, precision=precision)), losses(bench.folder / "small")
    last = len(expected) // 4  # a quarter of the steps: one batch alone is noise
    difference = abs(sum(found[-last:]) / sum(expected[-last:]) - 1)
    return bounded(name, difference, NOISE_BOUND, losses=found)


STAGES = (
    (("float32_first_loss", "float32_losses"), train_float32),
    (("evaluate", "predict"), infer),
    (("bf16_losses",), train_bf16),
    (("fp16_losses",), train_fp16),
)
