"""A run that holds scenes out: what it is trained on, what it leaves untouched, and the encoder that it began from."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, PretrainConfig
from training.depth_sets.holdout import draw_scenes
from training.evaluation.evaluate import NamedPredictor, evaluate_model
from training.finetuning import finetune
from training.finetuning.check import check_finetune
from training.finetuning.depth_data import mean_log_depth
from training.finetuning.trace import hash_encoder
from training.metrics.protocols import METRICS
from training.model.depth_unet import DepthUnet
from training.network.encoder import build_resnet
from training.runfolder import save_config

OUTDOOR = "scene_type == 'outdoor'"

pytestmark = pytest.mark.slow  # the parts have fast tests of their own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("runs")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def config(diode_sets, folder) -> FinetuneConfig:
    """Two scenes held out, a validation set that cannot be opened, and an encoder that somebody pretrained."""
    (folder / "sealed" / "manifest.json").mkdir(parents=True)
    run = folder / "pretrained"
    save_config(run, PretrainConfig(sets=("a",), out=str(run), model="torchvision/resnet18", epochs=7))
    (run / "sets.json").write_text(json.dumps([{"name": "a", "identity": "i", "samples": 3}]))
    torch.save(build_resnet("resnet18", 3).state_dict(), run / "encoder.pt")
    return FinetuneConfig(
        set=diode_sets[0].url,
        val=str(folder / "sealed"),
        holdout_scenes="2",
        where=OUTDOOR,
        encoder=str(run),
        out=str(folder / "run"),
        height=40,
        width=48,
        epochs=1,
        batch_size=8,
        num_workers=0,
        accelerator="cpu",
        devices="1",
        seed=5,
    )


@pytest.fixture(scope="module")
def finished(config) -> FinetuneConfig:
    finetune.run(config)
    return config


def metrics_of(config: FinetuneConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(config.out) / "metrics.json").read_text())
    return found


@pytest.fixture
def unfinished(finished) -> Iterator[FinetuneConfig]:
    """The run as a kill leaves it after its last checkpoint; without a word in metrics.json."""
    file = Path(finished.out) / "metrics.json"
    content = file.read_bytes()
    file.unlink()
    yield replace(finished, resume=True)
    file.write_bytes(content)


def test_a_run_is_monitored_on_its_held_out_scenes_and_trained_on_the_others(finished, diode_sets):
    metrics, outdoor = metrics_of(finished), ShardSet(diode_sets[0].url, OUTDOOR)
    scenes = draw_scenes(sorted(set(outdoor.index["scene"])), 2, 5)
    train, val = (ShardSet(metrics[split]["path"], metrics[split]["where"]) for split in ("train", "val"))
    assert metrics["train"]["holdout"] == metrics["val"]["holdout"] == list(scenes)
    assert set(val.index["scene"]) == set(scenes)
    assert set(train.index["scene"]) == set(outdoor.index["scene"]) - set(scenes)
    assert metrics["val_set"] == {"path": finished.val, "where": OUTDOOR}
    model = DepthUnet.load(Path(finished.out) / "checkpoints" / "last.ckpt")
    assert model.options.log_depth_mean == mean_log_depth(train) != mean_log_depth(outdoor)
    found = evaluate_model(NamedPredictor(predictor=model, name="last", fingerprint=""), val).mean("headline")
    assert found == pytest.approx({name: metrics["last"][name] for name in METRICS}, rel=1e-5)


def test_a_run_tells_where_it_comes_from(finished):
    metrics = metrics_of(finished)
    assert metrics["encoder_sha256"] == hash_encoder(finished.encoder)
    assert metrics["pretrain"]["config"]["epochs"] == 7
    assert metrics["pretrain"]["sets"] == [{"name": "a", "identity": "i", "samples": 3}]
    assert metrics["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (metrics["device"], metrics["monitor"]) == ("cpu", "log10")
    assert metrics["started"].endswith("+00:00")
    assert metrics["last"]["seconds"] < metrics["seconds"] < 600
    assert "pytest" in metrics["command"] or "python" in metrics["command"]
    assert "resumes" not in metrics
    state = torch.load(Path(finished.out) / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["RunRecord"]
    assert state["trace"]["encoder_sha256"] == metrics["encoder_sha256"]
    assert 0 < state["seconds"] <= metrics["seconds"]


@pytest.fixture
def swapped(finished) -> Iterator[tuple[str, str]]:
    """Another encoder in the same place: the first digits of the former and of this one."""
    file = Path(finished.encoder) / "encoder.pt"
    content, before = file.read_bytes(), hash_encoder(finished.encoder) or ""
    torch.save(build_resnet("resnet18", 4).state_dict(), file)
    yield before[:12], (hash_encoder(finished.encoder) or "")[:12]
    file.write_bytes(content)


def test_a_finished_run_is_not_resumed_with_a_swapped_encoder(finished, swapped):
    with pytest.raises(
        UsageError, match=f"began from an encoder with sha256 {swapped[0]}, but .* has {swapped[1]} now"
    ):
        check_finetune(replace(finished, resume=True))


def test_an_unfinished_run_is_not_resumed_with_a_swapped_encoder(unfinished, swapped):
    """Before its first epoch has ended its checkpoints alone know the encoder."""
    with pytest.raises(
        UsageError, match=f"began from an encoder with sha256 {swapped[0]}, but .* has {swapped[1]} now"
    ):
        finetune.run(unfinished)


@pytest.fixture
def gone(finished) -> Iterator[None]:
    """The encoder was cleaned up."""
    file = Path(finished.encoder) / "encoder.pt"
    file.rename(file.with_name("elsewhere"))
    yield
    file.with_name("elsewhere").rename(file)


def test_a_finished_run_needs_no_encoder(finished, gone):
    assert "nothing to do" in finetune.run(replace(finished, resume=True)).text


def test_an_unfinished_run_goes_on_from_its_checkpoint_without_the_encoder(finished, unfinished, gone, capfd):
    weights = Path(finished.out) / "checkpoints" / "last.ckpt"
    before = torch.load(weights, weights_only=True)["state_dict"]
    outcome = finetune.run(unfinished)
    assert f"--encoder {finished.encoder} is gone: the run goes on from the weights in its" in capfd.readouterr().err
    metrics = metrics_of(unfinished)
    assert (metrics["finished"], metrics["epochs"]) == (True, 1)
    assert metrics["encoder_sha256"] == outcome.data["encoder_sha256"] is not None
    (resumed,) = metrics["resumes"]
    assert resumed["encoder_sha256"] is None
    assert resumed["started"] >= metrics["started"]
    after = torch.load(weights, weights_only=True)["state_dict"]
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_other_held_out_scenes_are_another_run(finished, unfinished):
    with pytest.raises(UsageError, match="the run was begun with --holdout-scenes 2, not 3"):
        finetune.run(replace(unfinished, holdout_scenes="3"))


def test_a_new_run_without_its_encoder_is_refused(finished, gone, folder):
    with pytest.raises(UsageError, match=r"expected an encoder at .*encoder\.pt, found none"):
        check_finetune(replace(finished, out=str(folder / "new")))


def test_a_view_without_a_return_does_not_stop_training(make_set, folder, capfd):
    depth, seen = np.full((40, 48), 4.0), np.ones((40, 48))
    views = [(f"{7 + at % 3:05d}", depth, seen * (at not in (1, 5))) for at in range(7)]
    samples = make_set(views)
    config = FinetuneConfig(
        set=samples.url, holdout_scenes="00008", out=str(folder / "blind"), encoder_name="resnet18", height=40,
        width=48, epochs=1, batch_size=2, num_workers=0, accelerator="cpu", devices="1",
    )  # fmt: skip
    finetune.run(config)
    metrics = metrics_of(config)
    assert (metrics["train"]["samples"], metrics["train"]["without_depth"]) == (4, 1)
    assert (metrics["val"]["samples"], metrics["val"]["without_depth"]) == (1, 1)
    assert metrics["val_set"] is None
    assert capfd.readouterr().err.count("views without a valid pixel, left out: 1") == 2
