"""Both trainers by `--reader webdataset`, for real."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from sharding.errors import UsageError
from training.config import FinetuneConfig, PretrainConfig
from training.finetuning import finetune
from training.pretraining import pretrain, views
from training.runfolder import load_config

LEAST = {
    "encoder_name": "resnet18",
    "height": 40,
    "width": 48,
    "epochs": 1,
    "batch_size": 8,
    "micro_batch": "4",
    "num_workers": 0,
    "accelerator": "cpu",
    "devices": "1",
    "where": "scene_type == 'outdoor'",
    "reader": "webdataset",
    "shuffle_buffer": 6,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place for run folders, emptied at the end: a checkpoint of the least network has 0.4 GB."""
    path = tmp_path_factory.mktemp("runs")
    yield path
    shutil.rmtree(path)


def options(sets, out: Path, **changed: Any) -> FinetuneConfig:
    return FinetuneConfig(set=sets[0].url, val=sets[1].url, out=str(out), **(LEAST | changed))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def finished(diode_sets, folder):
    finetune.run(options(diode_sets, folder / "finished"))
    return folder / "finished"


@pytest.mark.slow
def test_finetuning_takes_the_steps_of_an_epoch(finished, diode_sets, capfd):
    metrics = json.loads((finished / "metrics.json").read_text())
    count = metrics["train"]["samples"]
    assert metrics["samples_seen"] == count // 8 * 8 > 0
    assert load_config(finished)["reader"] == "webdataset"
    before = finetune.init_model("none", "resnet18", seed=0).state_dict()
    after = weights(finished)
    assert max(float((after["unet." + key] - value).abs().max()) for key, value in before.items()) > 1e-3


class Spy(Callback):
    """Keys of the training batches; and a fault: the process dies after so many micro-batches."""

    def __init__(self, die_after: int | None = None) -> None:
        self.keys: list[str] = []
        self.die_after = die_after

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.keys += batch["key"]
        if len(self.keys) == self.die_after:
            raise OSError("power cut")


def watched_run(config, monkeypatch, die_after=None):
    spy, make_trainer = Spy(die_after), finetune.make_trainer

    def make_watched(*arguments: Any) -> Any:
        trainer = make_trainer(*arguments)
        trainer.callbacks.append(spy)
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "make_trainer", make_watched)
        if die_after is None:
            finetune.run(config)
        else:
            with pytest.raises(OSError, match="power cut"):
                finetune.run(config)
    return spy.keys


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_with_the_samples_it_has_not_met(
    finished, diode_sets, folder, monkeypatch, capfd
):
    """With the same number of workers: exactly, to the very same weights."""
    config = options(diode_sets, folder / "cut", checkpoint_every="2steps", resume=True)
    first = watched_run(config, monkeypatch, die_after=20)  # between the steps 2 and 3, of which 2 is saved
    second = watched_run(config, monkeypatch)
    assert len(first) == 20
    assert len(set(first[:16] + second)) == 16 + len(second) == load_count(finished)
    expected, found = weights(finished), weights(folder / "cut")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    told = capfd.readouterr().err
    assert told.count("a run resumed in the middle of an epoch streams it again from its beginning") == 2
    assert "16 of" in told


def load_count(run: Path) -> int:
    return int(json.loads((run / "metrics.json").read_text())["samples_seen"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"reader": "indexed"}, "begun with --reader webdataset, not indexed"),
        ({"shuffle_buffer": 7}, "begun with --shuffle-buffer 6, not 7"),
    ],
)
def test_a_run_is_not_resumed_by_another_reader(finished, diode_sets, changed, expected):
    with pytest.raises(UsageError, match=expected):
        finetune.run(options(diode_sets, finished, resume=True, **changed))


def test_a_pipe_without_its_reader_is_refused(diode_sets, tmp_path):
    with pytest.raises(UsageError, match="only --reader webdataset reads"):
        finetune.run(options(diode_sets, tmp_path / "run", reader="indexed", pipe="cat {url}"))
    assert not (tmp_path / "run").exists()


def pretrain_options(sets, out: Path, **changed: Any) -> PretrainConfig:
    small = {"model": "torchvision/resnet18", "method": "simclr", "epochs": 1, "batch_size": 8, "image_size": 32}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1", "reader": "webdataset", "shuffle_buffer": 6}
    return PretrainConfig(sets=tuple(one.url for one in sets), out=str(out), **(small | machine | changed))


def test_weights_need_the_index(diode_sets, tmp_path):
    with pytest.raises(UsageError, match="--weights draws samples by their place in the index"):
        pretrain.run(pretrain_options(diode_sets, tmp_path / "run", weights="1,2"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_pretraining_trains_on_streamed_images(diode_sets, megadepth_set, tmp_path, num_workers, capfd, monkeypatch):
    sets, met, make_views = (diode_sets[0], megadepth_set), Counter(), views.ViewDataset._make_items

    def make_noted(self, positions):
        for item in make_views(self, positions):
            met[item["filename"]] += 1
            yield item

    monkeypatch.setattr(views.ViewDataset, "_make_items", make_noted)
    count = sum(map(len, sets))
    outcome = pretrain.run(pretrain_options(sets, tmp_path / "run", epochs=2, num_workers=num_workers))
    assert outcome.data["steps"] == 2 * (count // 8)
    encoder = torch.load(outcome.data["encoder"], weights_only=True)
    assert encoder["bn1.num_batches_tracked"] == 2 * (count // 8)
    assert all(torch.isfinite(value).all() for value in encoder.values())
    assert f"--reader webdataset: {count} samples" in capfd.readouterr().err
    assert count % 8 == 0
    if num_workers == 0:  # in this process, so that they were noted
        assert met == {key: 2 for one in sets for key in one.index["key"]}
