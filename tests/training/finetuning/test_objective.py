"""Depth up to scale: what such a run minimises and says, and that its unit does not matter."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharding.config import ShardMegadepthConfig
from sharding.errors import UsageError
from sharding.making.create import shard_megadepth
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, PredictConfig
from training.evaluation import predict
from training.evaluation.evaluate import evaluate_model, load_predictor
from training.finetuning import finetune
from training.finetuning.check import check_finetune
from training.finetuning.objective import announce_scale, choose_loss
from training.finetuning.record import read_curves
from training.model.depth_unet import DepthUnet

UNIT_FREE = ("abs_rel", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
LEAST = {
    "where": "kind == 'up_to_scale'",
    "holdout_scenes": "2",
    "encoder_name": "resnet18",
    "height": 40,
    "width": 48,
    "epochs": 2,
    "batch_size": 4,
    "micro_batch": "4",
    "learning_rate": 1e-3,
    "num_workers": 0,
    "accelerator": "cpu",
    "devices": "1",
}


class Convolutions(nn.Module):
    """A small network instead of a U-Net, with the same weights in each run."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def shard(source: Path, target: Path) -> ShardSet:
    shard_megadepth(ShardMegadepthConfig(source=str(source), set=str(target), with_depth=True, workers=1))
    return ShardSet(target)


@pytest.fixture(scope="module")
def larger(megadepth_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """The MegaDepth set with all depths times 7."""
    root = tmp_path_factory.mktemp("larger")
    shutil.copytree(megadepth_tree, root / "tree")
    for file in (root / "tree").rglob("*.h5"):
        with h5py.File(file, "r+") as opened:
            if opened["depth"][:].min() >= 0:  # no ordinal labels
                opened["depth"][:] *= np.float32(7)
    return shard(root / "tree", root / "set")


def make_config(samples: ShardSet, out: Path, **options: Any) -> FinetuneConfig:
    return FinetuneConfig(set=samples.url, out=str(out), **(LEAST | options))


def test_losses_and_metrics_do_not_depend_on_the_unit(megadepth_set, larger, tmp_path, capsys) -> None:
    here, there = ShardSet(megadepth_set.url).index, larger.index
    chosen = here["kind"] == "up_to_scale"
    assert np.allclose(there["depth_median"][chosen], 7 * here["depth_median"][chosen], rtol=1e-5)
    rows = []
    for name, samples in (("here", megadepth_set), ("there", larger)):
        finetune.train(make_config(samples, tmp_path / name, gradient_weight=0.5, epochs=1), Convolutions)
        rows.append(read_curves(tmp_path / name))
        assert "depth is up to scale: the loss is si_log" in capsys.readouterr().err
    for one, other in zip(*rows, strict=True):
        for name in ("train_loss", "val_loss", *(f"val_{metric}" for metric in UNIT_FREE)):
            assert other[name] == pytest.approx(one[name], rel=1e-3), name
    assert rows[0][0]["train_loss"] > 0.1
    measured = {name.removeprefix("val_") for name in rows[0][0] if name.startswith("val_")}
    assert measured == {"loss", *UNIT_FREE}, "what has a unit means nothing"
    content = torch.load(tmp_path / "here" / "checkpoints" / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert (content["depth_kind"], content["loss"], content["gradient_weight"]) == ("up_to_scale", "si_log", 0.5)


def test_a_loss_that_needs_metres_is_refused_before_anything_is_written(megadepth_set, tmp_path) -> None:
    said = "--loss silog: it compares distances, .* up to scale.*; give --loss si_log, or leave --loss out"
    config = make_config(megadepth_set, tmp_path / "run", loss="silog")
    for refuse in (lambda: check_finetune(config), lambda: finetune.train(config, Convolutions)):
        with pytest.raises(UsageError, match=said):
            refuse()
    assert not (tmp_path / "run").exists()


def test_a_stop_by_metres_is_refused_before_anything_is_written(megadepth_set, tmp_path) -> None:
    config = make_config(megadepth_set, tmp_path / "run", lightning={"EarlyStopping": {"monitor": "val_rmse"}})
    with pytest.raises(UsageError, match="monitor val_rmse is in metres"):
        check_finetune(config)
    assert not (tmp_path / "run").exists()


def test_the_default_loss_follows_the_depth() -> None:
    assert choose_loss(None, "metric") == "silog"
    assert choose_loss(None, "up_to_scale") == "si_log"
    assert choose_loss("si_log", "up_to_scale") == "si_log"
    assert choose_loss("mse", "metric") == "mse"
    for loss in ("silog", "l1_log", "mse_log", "berhu_log", "mse"):
        with pytest.raises(UsageError, match=f"--loss {loss}: "):
            choose_loss(loss, "up_to_scale")


def test_who_ignores_the_metres_of_a_set_is_told(capsys) -> None:
    announce_scale("si_log", "metric")
    assert "does not learn metres, though the set has them; --loss silog does" in capsys.readouterr().err
    announce_scale("silog", "metric")
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def run(megadepth_set: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real run at three quarters of the resolution."""
    out = tmp_path_factory.mktemp("runs") / "relative"
    finetune.run(make_config(megadepth_set, out, scale=0.75, epochs=1))
    yield out
    shutil.rmtree(out)


@pytest.mark.slow
def test_a_real_run_predicts_ratios_and_says_so(run, megadepth_tree, tmp_path, capsys) -> None:
    model = DepthUnet.load(run / "checkpoints" / "last.ckpt")
    assert (model.options.depth_kind, model.scale) == ("up_to_scale", 0.75)
    image = str(sorted(megadepth_tree.rglob("*.jpg"))[0])
    config = PredictConfig(run=str(run), checkpoint="last", images=(image,), out=str(tmp_path), accelerator="cpu")
    outcome = predict.run(config)
    (one,) = outcome.data["predictions"]
    assert (one.near_m, one.median_m, one.far_m, one.depth_kind) == (None, None, None, "up_to_scale")
    assert one.far_to_near > 1
    assert " m" not in outcome.text.partition(": ")[2].partition(" -> ")[0]
    assert "it predicts ratios within an image, not metres\n" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="ratios within an image, not metres"):
        model.predict(image)


@pytest.mark.slow
def test_its_validation_is_its_evaluation(run, megadepth_set) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    held_out = ShardSet(megadepth_set.url, metrics["val"]["where"])
    named = load_predictor(run / "checkpoints" / "last.ckpt", "last", torch.device("cpu"))
    found = evaluate_model(named, held_out).mean("median_scaled")
    for name in UNIT_FREE:
        assert found[name] == pytest.approx(metrics["last"][name], rel=1e-5)
