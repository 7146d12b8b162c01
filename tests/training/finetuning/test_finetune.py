import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, PretrainConfig
from training.evaluation.evaluate import NamedPredictor, evaluate_model
from training.finetuning import finetune
from training.finetuning.depth_data import mean_log_depth
from training.finetuning.record import read_curves
from training.finetuning.trace import hash_encoder
from training.metrics.protocols import METRICS
from training.model.depth_unet import DepthUnet
from training.network.encoder import build_resnet
from training.runfolder import load_config, save_config

Sets = tuple[ShardSet, ShardSet]

OUTDOOR = "scene_type == 'outdoor'"
LEAST = {
    "where": OUTDOOR,
    "encoder_name": "resnet18",
    "height": 40,
    "width": 48,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "num_workers": 0,
    "accelerator": "cpu",
    "devices": "1",
}


def make_config(sets: Sets, out: Path, **options: Any) -> FinetuneConfig:
    return FinetuneConfig(set=sets[0].url, val=sets[1].url, out=str(out), **(LEAST | options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for run folders, emptied at the end: a checkpoint of the least network has 0.4 GB."""
    path = tmp_path_factory.mktemp("runs")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def finished(diode_sets: Sets, folder: Path) -> Path:
    """A run of two epochs."""
    finetune.run(make_config(diode_sets, folder / "finished"))
    return folder / "finished"


def load_weights(run: Path, which: str) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / f"{which}.ckpt", map_location="cpu", weights_only=True)
    return content["state_dict"]


def test_a_run_leaves_its_options_metrics_and_curves(finished, diode_sets):
    assert load_config(finished)["batch_size"] == 8
    metrics, curves = json.loads((finished / "metrics.json").read_text()), read_curves(finished)
    train = ShardSet(diode_sets[0].url, OUTDOOR)
    steps = len(train) // 8
    assert [row["samples_seen"] for row in curves] == [8 * steps, 16 * steps]
    assert (metrics["epochs"], metrics["samples_seen"]) == (2, 16 * steps)
    assert metrics["loss"] == load_config(finished)["loss"] == "silog"  # which was left out
    assert metrics["train"]["samples"] == len(train)
    assert metrics["last"]["abs_rel"] == curves[-1]["val_abs_rel"]
    assert metrics["best"]["log10"] == min(row["val_log10"] for row in curves)
    assert metrics["monitor"] == "log10"
    assert set(METRICS) < set(metrics["last"])


def test_validation_is_that_of_an_evaluation_at_native_resolution(finished, diode_sets):
    metrics = json.loads((finished / "metrics.json").read_text())
    for which in ("last", "best"):
        model = DepthUnet.load(finished / "checkpoints" / f"{which}.ckpt")
        named = NamedPredictor(predictor=model, name=which, fingerprint="")
        found = evaluate_model(named, ShardSet(diode_sets[1].url, OUTDOOR)).mean("headline")
        assert found == pytest.approx({name: metrics[which][name] for name in METRICS}, rel=1e-5)


def test_tensorboard_has_loss_rate_metrics_and_panels(finished):
    events = EventAccumulator(str(finished / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    assert {"train_loss", "train_loss_epoch", "lr", "val_loss", *(f"val_{name}" for name in METRICS)} <= set(
        tags["scalars"]
    )
    assert len(tags["images"]) == 4
    panels = events.Images(tags["images"][0])
    size = (2 * 12 + 44 + 256, 5 * 12 + 384 + 3 * (384 + 6 + 84))  # of the panel of an image of 64 x 96
    assert [(panel.step, panel.height, panel.width) for panel in panels] == [(0, *size), (1, *size)]


def test_encoder_and_decoder_have_learnt(finished):
    before = finetune.init_model("none", "resnet18", seed=0).state_dict()
    after = load_weights(finished, "last")
    moved = {key: float((after["unet." + key] - value).abs().max()) for key, value in before.items()}
    assert moved["layers.0.0.weight"] > 1e-3
    assert sum(change > 0 for key, change in moved.items() if key.endswith("weight")) == sum(
        key.endswith("weight") for key in moved
    )


def test_the_network_starts_from_the_mean_depth_of_the_training_set(finished, diode_sets):
    train = ShardSet(diode_sets[0].url, OUTDOOR)
    model = DepthUnet.load(finished)
    assert model.options.log_depth_mean == mean_log_depth(train)
    assert 2 < mean_log_depth(train) < 4
    assert (model.options.height, model.options.width) == (40, 48)
    assert model.options.total_steps == 2 * (len(train) // 8)


class Halt(Callback):
    """A fault: the process dies when the second epoch begins."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise OSError("power cut")


@pytest.mark.slow
def test_a_run_cut_short_goes_on_to_the_very_same_weights(finished, diode_sets, folder, monkeypatch):
    """It goes on with a worker: Lightning asks that one for batches before it tells the sampler which epoch it is."""
    config = make_config(diode_sets, folder / "cut", resume=True)
    with monkeypatch.context() as patch:
        make_trainer = finetune.make_trainer

        def make_failing(*args: Any) -> Any:
            trainer = make_trainer(*args)
            trainer.callbacks.insert(0, Halt())
            return trainer

        patch.setattr(finetune, "make_trainer", make_failing)
        with pytest.raises(OSError, match="power cut"):
            finetune.run(config)
    (folder / "cut" / "metrics.json").unlink()  # as if it had died before this was written
    assert len(read_curves(folder / "cut")) == 1
    finetune.run(replace(config, num_workers=1))
    expected, found = load_weights(finished, "last"), load_weights(folder / "cut", "last")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in read_curves(folder / "cut")]
    assert rows == [{key: value for key, value in row.items() if key != "seconds"} for row in read_curves(finished)]


def test_a_finished_run_is_left_as_it_is(finished, diode_sets):
    file = finished / "checkpoints" / "last.ckpt"
    before = file.stat().st_mtime_ns
    outcome = finetune.run(make_config(diode_sets, finished, resume=True))
    assert outcome.ok
    assert "is finished (2 epochs): nothing to do" in outcome.text
    assert file.stat().st_mtime_ns == before


def test_the_name_of_the_encoder_may_be_left_out_when_a_run_is_resumed(finished, diode_sets):
    outcome = finetune.run(make_config(diode_sets, finished, resume=True, encoder_name=None))
    assert "is finished (2 epochs): nothing to do" in outcome.text


def test_a_run_folder_is_not_overwritten(finished, diode_sets):
    with pytest.raises(UsageError, match=f"{finished} is not empty; give --resume"):
        finetune.run(make_config(diode_sets, finished))


def test_another_run_is_not_resumed(finished, diode_sets):
    with pytest.raises(UsageError, match="begun with --batch-size 8, not 4; repeat its options"):
        finetune.run(make_config(diode_sets, finished, resume=True, batch_size=4))


@pytest.mark.slow
def test_another_set_is_not_resumed(finished, diode_sets, folder):
    other = shutil.copytree(finished, folder / "other")
    swapped = (diode_sets[0], diode_sets[0])
    config = make_config(swapped, other, resume=True, allow_overlap=True)
    record = json.loads((other / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps(record | {"finished": False}))
    with pytest.raises(UsageError, match=r"the val set of .* was .*diode-val.*, found .*diode-train"):
        finetune.run(config)


def test_depth_of_several_kinds_is_refused(megadepth_set, diode_sets, tmp_path):
    sets = (megadepth_set, diode_sets[1])
    with pytest.raises(
        UsageError, match=r"found .* of kind ordinal, .* of kind up_to_scale; .*--where \"kind == 'up_to_scale'"
    ):
        finetune.run(make_config(sets, tmp_path / "run", where=None))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"height": 32}, "--height: expected a whole number of at least 33, found 32"),
        ({"epochs": 0}, "--epochs: expected a whole number of at least 1, found 0"),
        ({"batch_size": 36}, "global batch of 36 out of 35 samples makes 0 steps"),
        ({"micro_batch": "3"}, "--micro-batch 3 does not divide the 8 samples"),
        ({"where": "scene == 'nowhere'"}, "nowhere"),
        ({"gradient_weight": 1e38}, "--gradient-weight: expected a number of at least 0 and of at most 1000000, found"),
    ],
)
def test_an_impossible_wish_is_refused_before_a_folder_is_made(options, expected, diode_sets, tmp_path):
    with pytest.raises(UsageError, match=expected):
        finetune.run(make_config(diode_sets, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_encoders_name_comes_from_the_pretraining_run_and_is_recorded(finished, diode_sets, folder):
    run = folder / "pretrained"
    save_config(run, PretrainConfig(sets=("a",), out=str(run), model="torchvision/resnet18"))
    torch.save(build_resnet("resnet18", 0).state_dict(), run / "encoder.pt")
    out = folder / "named"
    finetune.run(make_config(diode_sets, out, encoder=str(run), encoder_name=None))
    assert load_config(out)["encoder_name"] == "resnet18"
    assert json.loads((out / "metrics.json").read_text())["encoder_name"] == "resnet18"
    assert DepthUnet.load(out).options.encoder_name == "resnet18"
    expected, found = load_weights(finished, "last"), load_weights(out, "last")
    assert all(torch.equal(found[key], value) for key, value in expected.items())  # the same initial weights


@pytest.mark.slow
def test_a_network_remembers_its_encoder_and_a_run_of_it_has_that_encoder(diode_sets, tmp_path):
    """Seen by a check of the encoder's file, which comes before anything is trained."""
    file = tmp_path / "encoder.pt"
    torch.save(build_resnet("resnet18", 4).state_dict(), file)
    unet = finetune.init_model(file, "resnet18")
    assert (unet.source, finetune.init_model(encoder_name="resnet18").source) == (str(file), "none")
    file.unlink()
    with pytest.raises(UsageError, match=f"expected an encoder at {file}, found none"):
        finetune.finetune_unet(unet, diode_sets[0].url, diode_sets[1].url, tmp_path / "run", **LEAST)


@pytest.mark.slow
def test_the_tutorials_function_trains_the_given_network(diode_sets, folder):
    run = folder / "before"
    save_config(run, PretrainConfig(sets=("a",), out=str(run), model="torchvision/resnet18"))
    (run / "sets.json").write_text("[]")
    torch.save(build_resnet("resnet18", 4).state_dict(), run / "encoder.pt")
    unet = finetune.init_model(run, seed=4)
    weight = unet.layers[0][0].weight.detach().clone()
    options = LEAST | {"epochs": 1, "batch_size": 16, "micro_batch": "4", "encoder_name": None}
    model = finetune.finetune_unet(unet, diode_sets[0].url, diode_sets[1].url, folder / "door", **options)
    assert not torch.equal(unet.layers[0][0].weight, weight)
    assert torch.equal(model.unet.layers[0][0].weight, unet.layers[0][0].weight)
    content = json.loads((folder / "door" / "metrics.json").read_text())
    assert content["split"]["accumulation"] == 4
    assert (content["encoder"], content["encoder_sha256"]) == (str(run), hash_encoder(str(run)))
    assert content["pretrain"]["config"]["model"] == "torchvision/resnet18"
    assert model.options.encoder_name == "resnet18"  # found from the network


@pytest.mark.slow
def test_two_processes_validate_as_one(diode_sets, folder):
    """Also that the command starts its second process itself, and prints one JSON object."""
    out = folder / "two"
    config = make_config(diode_sets, out, epochs=1, devices="2")
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in LEAST.items() if name not in ("epochs", "devices")
    ]
    arguments = [
        "finetune",
        config.set,
        "--val",
        config.val,
        "--out",
        str(out),
        *options,
        "--epochs=1",
        "--devices=2",
        "--json",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    val = ShardSet(diode_sets[1].url, OUTDOOR)
    assert len(val) % 2 == 1  # so that the last step is padded
    model = DepthUnet.load(out / "checkpoints" / "last.ckpt")
    found = evaluate_model(NamedPredictor(predictor=model, name="two", fingerprint=""), val).mean("headline")
    assert found == pytest.approx({name: metrics["last"][name] for name in METRICS}, rel=1e-6)
    assert metrics["split"] == {"world": 2, "micro_batch": 4, "accumulation": 1}
