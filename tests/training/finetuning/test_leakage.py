"""Nothing but the image tells a network the depth: from files to metrics, with images that tell nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sharding.config import ShardDiodeConfig
from sharding.format.sample import Sample
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet
from training.baselines.fitted import fit_baselines
from training.baselines.measured import evaluate_baselines
from training.config import FinetuneConfig
from training.finetuning import finetune

Paint = Callable[[Sample, np.random.Generator], NDArray[np.uint8]]
Metrics = dict[str, float]

OUTDOOR = "scene_type == 'outdoor'"


def paint_noise(sample: Sample, random: np.random.Generator) -> NDArray[np.uint8]:
    return random.integers(0, 256, sample.image.shape, dtype=np.uint8)


def paint_depth(sample: Sample, random: np.random.Generator) -> NDArray[np.uint8]:
    """The log of the depth itself, as grey; black where there is none."""
    metres = np.where(sample.valid, sample.depth, 1)
    grey = (np.log(metres) / np.log(300) * 255).clip(0, 255).astype(np.uint8)
    return grey[..., None].repeat(3, axis=2)


def repaint(samples: ShardSet, split: str, paint: Paint, root: Path) -> ShardSet:
    """The same views with other images, written as DIODE's files and sharded."""
    random = np.random.default_rng(len(samples))
    for number, sample in enumerate(samples.read(range(len(samples)))):
        scene = samples.index["scene"].iloc[number]
        folder = root / split / "outdoor" / f"scene_{scene}" / f"scan_{scene}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"{scene}_{scene}_outdoor_{number:03d}_010"
        Image.fromarray(paint(sample, random)).save(f"{stem}.png")
        np.save(f"{stem}_depth.npy", sample.depth[..., None])
        np.save(f"{stem}_depth_mask.npy", sample.valid.astype(np.float32))
    shard_diode(ShardDiodeConfig(source=str(root), set=str(root / f"set-{split}"), split=split, workers=1))
    return ShardSet(root / f"set-{split}")


pytestmark = pytest.mark.slow


@pytest.fixture
def learn(
    diode_sets: tuple[ShardSet, ShardSet], tmp_path: Path
) -> Iterator[Callable[[Paint], tuple[Metrics, Metrics]]]:
    """A function that repaints the toy views and trains on them: metrics of the network and of the row baseline."""

    def train(paint: Paint) -> tuple[Metrics, Metrics]:
        sources = zip(diode_sets, ("train", "val"), strict=True)
        train_set, val_set = (repaint(ShardSet(one.url, OUTDOOR), split, paint, tmp_path) for one, split in sources)
        options = {"encoder_name": "resnet18", "height": 40, "width": 48, "epochs": 3, "batch_size": 8}
        machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1"}
        config = FinetuneConfig(
            set=train_set.url, val=val_set.url, out=str(tmp_path / "run"), learning_rate=1e-3, **options, **machine
        )
        row = evaluate_baselines(fit_baselines(train_set), val_set)["row"]
        return finetune.run(config).data["last"], row.mean("headline")

    yield train
    shutil.rmtree(tmp_path / "run")


def test_noise_images_give_a_network_no_better_than_the_row_baseline(learn):
    """By the errors that see structure: abs_rel alone can be lowered by answering too near everywhere."""
    network, row = learn(paint_noise)
    assert network["silog"] >= row["silog"]
    assert network["rmse_log"] >= 0.97 * row["rmse_log"]


def test_the_same_training_finds_a_depth_that_the_image_does_tell(learn):
    """The control: were depth to reach the network, the test above would see it."""
    network, row = learn(paint_depth)
    assert network["silog"] < 0.75 * row["silog"]
    assert network["rmse_log"] < 0.75 * row["rmse_log"]
