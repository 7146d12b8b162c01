"""Hand-made sets and runs (by the real writers), oracles that know the depth, and evaluations with given numbers."""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sharding.config import ShardDiodeConfig
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.evaluation.results import ORIGINS, Evaluation, SetInfo
from training.metrics.names import METRIC
from training.metrics.protocols import METRICS, PROTOCOLS
from training.runfolder import save_config

View = tuple[str, np.ndarray, np.ndarray]
"""Scene (5 digits), depth (H, W), mask (H, W); the image is noise of the same size."""


@pytest.fixture
def shared_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sets the bytes that /dev/shm has, all of them free."""
    statvfs = os.statvfs

    def set_free(size: int) -> None:
        told = SimpleNamespace(f_blocks=size, f_bavail=size, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path: told if path == "/dev/shm" else statvfs(path))

    return set_free


@pytest.fixture(scope="session")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ShardSet]:
    """A function from views to a shard set of them."""

    def make(views: Sequence[View], split: str = "train") -> ShardSet:
        root = tmp_path_factory.mktemp("hand")
        for number, (scene, depth, mask) in enumerate(views):
            folder = root / split / "outdoor" / f"scene_{scene}" / "scan_00001"
            folder.mkdir(parents=True, exist_ok=True)
            stem = folder / f"{scene}_00001_outdoor_{number:03d}_010"
            pixels = np.random.default_rng(number).integers(0, 256, (*depth.shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"{stem}.png")
            np.save(f"{stem}_depth.npy", depth.astype(np.float32)[..., None])
            np.save(f"{stem}_depth_mask.npy", mask.astype(np.float32))
        shard_diode(ShardDiodeConfig(source=str(root), set=str(root / "set"), split=split, workers=1))
        return ShardSet(root / "set")

    return make


class Oracle:
    """Predicts the true depth of the images of a set, times a factor; 1 m where nothing was measured."""

    def __init__(self, samples: ShardSet, factor: float = 1.0) -> None:
        self._depths = {
            sample.image.tobytes(): np.where(sample.valid, sample.depth, 1).astype(np.float32) * np.float32(factor)
            for sample in samples.read(range(len(samples)))
        }

    def predict_depth(self, image: torch.Tensor) -> torch.Tensor:
        known = [self._depths[one.permute(1, 2, 0).contiguous().numpy().tobytes()] for one in image]
        return torch.from_numpy(np.stack(known))[:, None]


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle


@dataclass(frozen=True)
class Fabricator:
    """Makes evaluations whose primary metric is given, image by image; every other metric is a multiple of it."""

    set: SetInfo

    def __call__(self, name: str, primary: dict[str, float]) -> Evaluation:
        """Keys look like SCENE_NUMBER."""
        factors = [1 + (column - METRICS.index(METRIC)) % len(METRICS) for column in range(len(METRICS))]
        rows = [
            (protocol, key, key.split("_")[0], "", "", *(value * factor for factor in factors))
            for protocol in PROTOCOLS
            for key, value in primary.items()
        ]
        table = pd.DataFrame(rows, columns=["protocol", "key", *ORIGINS, *METRICS])
        return Evaluation(predictor=name, fingerprint="f" * 64, set=self.set, device="cpu", table=table)


@pytest.fixture(scope="session")
def fabricate() -> Fabricator:
    return Fabricator(
        SetInfo(name="hand-val", split="val", url="sets/hand-val", identity="a" * 64, where=None, images=4, scenes=2)
    )


@pytest.fixture(scope="session")
def blank_unet() -> torch.nn.Module:
    """A ResNet-18 U-Net whose weights are all 0: it predicts the log depth it starts from, everywhere."""
    from training.finetuning.finetune import init_model

    unet = init_model(encoder_name="resnet18").eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.zero_()
    return unet


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, blank_unet: torch.nn.Module) -> Callable[..., Path]:
    """A function that leaves what a fine-tuning run leaves, of a network that predicts `depth_m` everywhere.

    `facts` are further entries of its metrics.json.
    """
    from training.finetuning.record import summarize, to_csv
    from training.model.depth_unet import DepthUnet
    from training.model.hyperparameters import Hyperparameters
    from training.runfolder import CURVES_NAME, METRICS_NAME

    def make(
        name: str,
        depth_m: float,
        train: ShardSet,
        val: ShardSet,
        /,
        *,
        facts: dict[str, Any] | None = None,
        **options: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp("run") / name
        (folder / "checkpoints").mkdir(parents=True)
        config = {"set": train.url, "val": val.url, "out": str(folder), "encoder_name": "resnet18"} | options
        save_config(folder, FinetuneConfig(**({"epochs": 2} | config)))
        model = DepthUnet(blank_unet, Hyperparameters(encoder_name="resnet18", log_depth_mean=math.log(depth_m)))
        state = {key: value.flatten()[0].clone().expand(value.shape) for key, value in model.state_dict().items()}
        content = {"state_dict": state, "hyper_parameters": dict(model.hparams)}  # a few KB: every tensor is constant
        for which in ("best", "last"):
            torch.save(content, folder / "checkpoints" / f"{which}.ckpt")
        values = [0.5 - at / 10 for at in range(2)]
        rows = [
            {"epoch": at, "samples_seen": 8, "train_loss": 1.0, "val_abs_rel": value, "val_log10": value / 2}
            for at, value in enumerate(values)
        ]
        about = {split: {"identity": one.manifest.identity} for split, one in (("train", train), ("val", val))}
        (folder / METRICS_NAME).write_text(json.dumps(about | summarize(rows) | (facts or {})))
        (folder / CURVES_NAME).write_bytes(to_csv(rows))
        return folder

    return make
