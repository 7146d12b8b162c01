import json
from pathlib import Path

import pytest
import torch

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig, PretrainConfig
from training.finetuning.check import check_finetune
from training.finetuning.settled import known_loss, known_name, recall, settle_loss, settle_name
from training.runfolder import METRICS_NAME, load_config, save_config


def make_config(out: Path, sets: tuple[ShardSet, ShardSet] | None = None, **options) -> FinetuneConfig:
    train, val = (one.url for one in sets) if sets else ("train", "val")
    return FinetuneConfig(set=train, val=val, out=str(out), **options)


@pytest.fixture
def begun(tmp_path) -> Path:
    """The folder of a run that has learned something, with the encoder's name in its options."""
    save_config(tmp_path, make_config(tmp_path, encoder_name="resnet18"))
    (tmp_path / METRICS_NAME).write_text(json.dumps({"finished": True}))
    return tmp_path


def test_a_resumed_run_keeps_the_name_it_was_begun_with(begun):
    assert recall(make_config(begun, resume=True)).encoder_name == "resnet18"
    assert recall(make_config(begun, resume=True, encoder_name="resnet34")).encoder_name == "resnet34"


def test_another_run_recalls_no_name(begun, tmp_path_factory):
    for config in (make_config(begun), make_config(tmp_path_factory.mktemp("new"), resume=True)):
        assert recall(config) is config


def test_a_name_that_is_left_out_is_no_difference_and_another_one_is(begun):
    check_finetune(make_config(begun, resume=True))
    check_finetune(make_config(begun, resume=True, encoder_name="resnet18"))
    with pytest.raises(UsageError, match="begun with --encoder-name resnet18, not resnet50; repeat its options"):
        check_finetune(make_config(begun, resume=True, encoder_name="resnet50"))


def test_a_run_of_before_is_resumed_by_a_command_without_the_name(begun):
    """It was the default then: resnet50, in its options."""
    save_config(begun, make_config(begun, encoder_name="resnet50"))
    check_finetune(make_config(begun, resume=True))
    assert recall(make_config(begun, resume=True)).encoder_name == "resnet50"


@pytest.mark.parametrize(
    ("given", "found", "settled"),
    [(None, "resnet34", "resnet34"), ("resnet34", "resnet34", "resnet34"), ("resnet34", None, "resnet34")],
)
def test_the_network_settles_the_name(given, found, settled):
    assert known_name(settle_name(make_config(Path("out"), encoder_name=given), found)) == settled


def test_without_any_name_it_is_a_resnet50():
    assert known_name(settle_name(make_config(Path("out")), None)) == "resnet50"


def test_a_name_that_is_not_the_networks_is_refused():
    with pytest.raises(UsageError, match="--encoder-name resnet50: the network was built on a resnet18; give that"):
        settle_name(make_config(Path("out"), encoder_name="resnet50"), "resnet18")


def test_a_name_against_the_run_is_refused_in_a_sentence_before_anything_is_read(diode_sets, tmp_path):
    run = tmp_path / "run"
    save_config(run, PretrainConfig(sets=("a",), out=str(run), model="torchvision/resnet18"))
    torch.save({}, run / "encoder.pt")
    check_finetune(make_config(tmp_path / "f", diode_sets, encoder=str(run)))
    with pytest.raises(UsageError, match=r"--encoder-name resnet50: expected resnet18, which the run .*run pretrained"):
        check_finetune(make_config(tmp_path / "f", diode_sets, encoder=str(run), encoder_name="resnet50"))


@pytest.mark.parametrize(
    ("given", "kind", "settled"),
    [(None, "metric", "silog"), (None, "up_to_scale", "si_log"), ("mse", "metric", "mse")],
)
def test_the_depth_settles_the_loss(given, kind, settled):
    assert known_loss(settle_loss(make_config(Path("out"), loss=given), kind)) == settled


def test_a_resumed_run_keeps_the_loss_it_was_begun_with(begun):
    save_config(begun, make_config(begun, encoder_name="resnet18", loss="l1_log"))
    assert recall(make_config(begun, resume=True)).loss == "l1_log"
    check_finetune(make_config(begun, resume=True))
    with pytest.raises(UsageError, match="begun with --loss l1_log, not silog"):
        check_finetune(make_config(begun, resume=True, loss="silog"))


def test_what_a_run_does_not_know_of_its_loss_is_settled_again(begun):
    """Null is what an earlier version wrote for the default."""
    assert load_config(begun)["loss"] is None
    assert recall(make_config(begun, resume=True)).loss is None
