import dataclasses
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from math import nan
from pathlib import Path

import lightly_train
import pytest
import torch
from PIL import Image
from torch import nn

from sharding.config import ShardMegadepthConfig
from sharding.errors import DataError
from sharding.making.create import shard_megadepth
from sharding.reading.shard_set import ShardSet
from sharding.toyworld import make_megadepth
from training.config import PretrainConfig
from training.loading.images import ImageDataset
from training.pretraining.collapse import CollapseGuard, measure_spread
from training.pretraining.pretrain import run
from training.pretraining.strategy import StreamSingleDevice

SMALL = {"model": "torchvision/resnet18", "loggers": {"tensorboard": None}, "accelerator": "cpu", "devices": 1}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No reports over the network, no files outside the tests."""
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def black_set(tmp_path_factory):
    """A set of black images: every view of them is black, and so are all features alike."""
    folder = tmp_path_factory.mktemp("black")
    make_megadepth(str(folder / "tree"), images=8, height=40, width=48, seed=0)
    for path in [*(folder / "tree").rglob("*.jpg"), *(folder / "tree").rglob("*.png")]:
        Image.new("RGB", (48, 40)).save(path)
    shard_megadepth(ShardMegadepthConfig(source=str(folder / "tree"), set=str(folder / "set"), workers=1))
    return ShardSet(folder / "set")


class Fed(StreamSingleDevice):
    """Counts the batches of a run; without its guard if asked."""

    guarded, batches = True, 0

    def connect(self, model):
        super().connect(model)
        if not self.guarded:
            callbacks = model.trainer.callbacks
            callbacks[:] = [one for one in callbacks if not isinstance(one, CollapseGuard)]

    def batch_to_device(self, batch, device=None, dataloader_idx=0):
        self.batches += 1
        return super().batch_to_device(batch, device, dataloader_idx)


def train(samples, out, guarded=True, batch_size=8, epochs=2, **arguments):
    """Train by the Python door; return the strategy."""
    images = ImageDataset([samples], seed=0)
    strategy = Fed(images, torch.device("cpu"))
    strategy.guarded = guarded
    options = {"method": "simclr", "transform_args": {"image_size": (32, 32)}, "num_workers": 0} | SMALL | arguments
    lightly_train.pretrain(
        out=out,
        data=[f"{position}.jpg" for position in range(len(images))],
        strategy=strategy,
        epochs=epochs,
        batch_size=batch_size,
        **options,
    )
    return strategy


@pytest.mark.slow
def test_a_loss_that_is_always_0_ends_in_an_error(megadepth_set, tmp_path):
    with pytest.raises(DataError, match=r"the loss was exactly 0 in every step, .* larger --batch-size"):
        train(megadepth_set, tmp_path, batch_size=1, epochs=1, trainer_args={"max_steps": 2})


def test_a_loss_that_is_not_finite_ends_the_run_a_step_later_and_names_the_samples(megadepth_set, tmp_path):
    keys = "|".join(megadepth_set.index["key"])
    with pytest.raises(DataError, match=rf"the loss is nan at step 1, in the batch of (({keys})(, )?){{8}}: look at"):
        train(megadepth_set, tmp_path, epochs=3, optim_args={"lr": 1e30})
    assert not list(tmp_path.rglob("*.ckpt")), "weights that the loss has spoiled were saved"


def config(samples, out, **options):
    small = {"model": "torchvision/resnet18", "method": "simclr", "epochs": 1, "batch_size": 4, "image_size": 32}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1"}
    return PretrainConfig(sets=(samples.url,), out=str(out), **small | machine | options)


SAID = "the encoder has collapsed: expected features that differ .* at least 1e-07 over the last batch, found .*; begin"


def test_collapsed_features_end_in_an_error_without_an_encoder_and_so_does_resuming(black_set, tmp_path):
    options = config(black_set, tmp_path / "run", batch_size=8)
    with pytest.raises(DataError, match=SAID):
        run(options)
    with pytest.raises(DataError, match=SAID):  # no step is left, and none is done
        run(dataclasses.replace(options, resume=True))
    assert not (tmp_path / "run" / "encoder.pt").exists()


@pytest.mark.slow
def test_all_processes_of_a_collapsed_run_end_with_one_error(black_set, tmp_path):
    words = ["--out", str(tmp_path / "run"), "--model", "torchvision/resnet18", "--method", "simclr", "--epochs", "1"]
    words += ["--batch-size", "8", "--image-size", "32", "--num-workers", "0", "--accelerator", "cpu", "--devices", "2"]
    command = [sys.executable, "-m", "training", "pretrain", black_set.url, *words, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 1, ended.stderr[-2000:]
    assert "the encoder has collapsed" in json.loads(ended.stdout)["error"]
    assert "Traceback" not in ended.stderr


TWO = """
import sys, lightly_train
from training import stream_arguments
if __name__ == "__main__":
    lightly_train.pretrain(
        **stream_arguments(sys.argv[1], devices=2, accelerator="cpu"), out=sys.argv[2], model="torchvision/resnet18",
        method="simclr", epochs=4, batch_size=8, num_workers=0, transform_args={"image_size": (32, 32)},
        optim_args={"lr": 1e30}, loggers={"tensorboard": None},
    )
"""


@pytest.mark.slow
def test_all_processes_end_at_the_same_step_when_a_loss_is_not_finite(megadepth_set, tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, str(tmp_path / "two.py"), megadepth_set.url, str(tmp_path / "out")]
    paths = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(command, env=paths, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 1, ended.stderr[-2000:]
    for rank in range(2):
        assert f"[rank{rank}]: sharding.errors.DataError: the loss is nan at step 1" in ended.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_the_guard_changes_no_weight(method, megadepth_set, tmp_path):
    for guarded in (True, False):
        train(megadepth_set, tmp_path / str(guarded), guarded, method=method, trainer_args={"max_steps": 4})
    with_it, without = (
        torch.load(tmp_path / str(guarded) / "exported_models" / "exported_last.pt", weights_only=True)
        for guarded in (True, False)
    )
    assert all(torch.equal(with_it[name], without[name]) for name in with_it)


def test_the_spread_is_the_largest_standard_deviation_of_a_feature_in_evaluation_mode():
    encoder = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1))
    encoder[0].eval()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    drawn = torch.get_rng_state()
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 3, 5, 5)
    spread = measure_spread(encoder, images)
    assert [module.training for module in encoder] == [False, True, True, True]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    slopes = encoder[0].weight.sum(dim=(1, 2, 3)) / (1 + encoder[1].eps) ** 0.5  # of a feature over the pixel value
    expected = (slopes.abs() * images[:, 0, 0, 0].std()).max()
    torch.testing.assert_close(spread, expected)


def test_one_image_has_no_spread():
    assert measure_spread(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4)) == torch.inf


def test_what_was_seen_is_kept_and_nothing_else_is_taken():
    guard = CollapseGuard()
    assert set(guard.state_dict().values()) == {None}
    seen = {"largest_loss": 0.0, "first_spread": 1.5, "spread": 2.5}
    guard.load_state_dict(seen)
    assert guard.state_dict() == seen
    with pytest.raises(DataError, match="exactly 0 in every step"):
        guard.on_fit_end(None, None)
    for wrong in (seen | {"spread": "x"}, {"spread": 1.0}, seen | {"more": 2}):
        with pytest.raises(DataError, match="callbacks/CollapseGuard"):
            guard.load_state_dict(wrong)


@pytest.mark.parametrize(
    ("first", "last", "collapsed"),
    [
        (0.1, 0.9e-6, True),
        (0.1, 1.1e-6, False),
        (0.9e-6, 0.9e-6, False),
        (5e-6, 4e-7, True),
        (0.0, 0.0, True),
        (0.1, nan, True),
    ],
)
def test_features_may_differ_by_less_where_the_model_began_with_less(first, last, collapsed):
    guard = CollapseGuard()
    guard.load_state_dict({"largest_loss": 1.0, "first_spread": first, "spread": last})
    with pytest.raises(DataError, match="has collapsed") if collapsed else nullcontext():
        guard.on_fit_end(None, None)


def test_a_method_without_an_encoder_is_not_taken_for_one_that_is_watched():
    with pytest.raises(DataError, match="expected a method with an EmbeddingModel, found none in Linear"):
        CollapseGuard().on_fit_start(None, nn.Linear(1, 1))
