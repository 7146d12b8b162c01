import contextlib
import dataclasses
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.config import PretrainConfig
from training.pretraining import lightly
from training.pretraining.call import make_transform_args
from training.pretraining.export import read_export
from training.pretraining.pretrain import choose_precision, parse_weights, run
from training.runfolder import save_config

WEIGHTS = ("conv1.weight", "layer4.1.conv2.weight")


@pytest.fixture(scope="module")
def images_alone(megadepth_set, tmp_path_factory):
    """A copy of a set with depth in which everything but the images is overwritten."""
    folder = tmp_path_factory.mktemp("damaged") / "set"
    shutil.copytree(megadepth_set.url, folder)
    for row in megadepth_set.index.to_dict("records"):
        shard = folder / "shards" / row["shard"]
        content = bytearray(shard.read_bytes())
        for part in ("depth", "valid", "meta"):
            begin, count = row[f"{part}_offset"], row[f"{part}_bytes"]
            content[begin : begin + count] = bytes(count)
        shard.write_bytes(content)
    return str(folder)


def config(sets, out, **options):
    small = {"model": "torchvision/resnet18", "method": "simclr", "epochs": 1, "batch_size": 8, "image_size": 32}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1"}
    sets = (sets,) if isinstance(sets, str) else tuple(sets)
    return PretrainConfig(sets=sets, out=str(out), **small | machine | options)


@pytest.fixture(scope="module")
def finished(images_alone, tmp_path_factory):
    """A finished run of simclr: its options, its outcome, and what it wrote to stdout."""
    options = config(images_alone, tmp_path_factory.mktemp("runs") / "simclr")
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        outcome = run(options)
    return options, outcome, stdout.getvalue()


def load(encoder):
    return torch.load(encoder, weights_only=True)


def test_only_image_bytes_are_read(images_alone, finished):
    with pytest.raises(DataError):
        ShardSet(images_alone)[0]
    _, outcome, _ = finished
    assert outcome.ok
    assert outcome.data["steps"] == len(ShardSet(images_alone)) // 8


def test_the_encoder_is_a_trained_torchvision_state_dict(images_alone, finished, tmp_path):
    options, outcome, _ = finished
    encoder = load(outcome.data["encoder"])
    assert Path(outcome.data["encoder"]) == Path(options.out) / "encoder.pt"
    torchvision.models.resnet18().load_state_dict(encoder, strict=True)
    untrained = load(run(dataclasses.replace(options, out=str(tmp_path / "untrained"), epochs=0)).data["encoder"])
    assert all(torch.isfinite(value).all() for value in encoder.values())
    assert not any(torch.equal(encoder[name], untrained[name]) for name in WEIGHTS)
    assert torch.equal(encoder["fc.weight"], untrained["fc.weight"])  # same start: only the features are trained


@pytest.mark.slow
def test_dino_trains_on_weighted_sets_with_aggressive_views(megadepth_set, images_alone, tmp_path):
    options = config(
        [megadepth_set.url, images_alone],
        tmp_path / "dino",
        method="dino",
        weights="1,3",
        batch_size=16,
        augmentation="aggressive",
    )
    outcome = run(options)
    encoder = load(outcome.data["encoder"])
    assert outcome.data["steps"] == 2 * len(megadepth_set) // 16
    assert all(torch.isfinite(value).all() for value in encoder.values())
    assert encoder["bn1.num_batches_tracked"] > 0
    assert yaml.safe_load((tmp_path / "dino" / "config.yaml").read_text())["augmentation"] == "aggressive"


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_print_one_result(images_alone, tmp_path):
    options = {
        "method": "dino",
        "model": "torchvision/resnet18",
        "epochs": 2,
        "batch_size": 8,
        "image_size": 32,
        "num_workers": 1,
        "devices": 2,
        "accelerator": "cpu",
        "out": tmp_path / "run",
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    ended = subprocess.run(
        [sys.executable, "-m", "training", "pretrain", images_alone, *words, "--json"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    steps = 2 * (len(ShardSet(images_alone)) // 8)
    assert json.loads(ended.stdout)["steps"] == steps
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    assert checkpoint["global_step"] == steps
    assert "MEMBER: 2/2" in ended.stderr
    assert ended.stderr.count(f"{steps} steps -> ") == 1
    torchvision.models.resnet18().load_state_dict(load(tmp_path / "run" / "encoder.pt"), strict=True)


def test_stdout_is_left_to_the_result(finished):
    assert finished[2] == ""


def test_a_finished_run_is_left_as_it_is(finished):
    options, outcome, _ = finished
    before = os.stat(outcome.data["encoder"]).st_mtime_ns
    again = run(dataclasses.replace(options, resume=True))
    assert again.ok
    assert again.data == {"encoder": outcome.data["encoder"], "trained": False}
    assert os.stat(outcome.data["encoder"]).st_mtime_ns == before


@pytest.mark.slow
def test_a_run_that_lost_its_export_makes_it_again_from_the_checkpoint(finished, tmp_path):
    options, outcome, _ = finished
    shutil.copytree(options.out, tmp_path / "run")
    (tmp_path / "run" / "encoder.pt").unlink()
    again = run(dataclasses.replace(options, out=str(tmp_path / "run"), resume=True))
    first, second = load(outcome.data["encoder"]), load(again.data["encoder"])
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_resume_on_an_empty_run_starts_it_and_leftovers_do_not_block_it(images_alone, finished, tmp_path):
    out = tmp_path / "run"
    options = config(images_alone, out, resume=True, epochs=0)
    (out / "lightly").mkdir(parents=True)
    (out / "lightly" / "train.log").write_text("killed before its first checkpoint")
    (out / "lightly-cache" / f"{socket.gethostname()}-1").mkdir(parents=True)
    assert run(options).data["trained"]
    assert not (out / "lightly-cache").exists()


def test_a_used_folder_is_refused_by_name(finished):
    options, _, _ = finished
    with pytest.raises(UsageError, match=f"{options.out} is not empty; give --resume"):
        run(options)


def test_resuming_with_other_options_or_sets_is_refused(finished, megadepth_set, diode_sets, tmp_path):
    options, _, _ = finished
    shutil.copytree(options.out, tmp_path / "run")
    (tmp_path / "run" / "encoder.pt").unlink()
    options = dataclasses.replace(options, out=str(tmp_path / "run"), resume=True)
    with pytest.raises(UsageError, match="begun with --seed 0, not 1"):
        run(dataclasses.replace(options, seed=1))
    with pytest.raises(UsageError, match="begun with --precision 32-true, not bf16-mixed"):
        run(dataclasses.replace(options, precision="bf16-mixed"))
    both = f"{ShardSet(options.sets[0]).manifest.identity}.*, found .*{diode_sets[0].manifest.identity}"
    with pytest.raises(UsageError, match=both):
        run(dataclasses.replace(options, sets=(diode_sets[0].url,)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 1000}, "a global batch of 1000 out of"),
        ({"batch_size": 9, "devices": "2"}, "--batch-size 9 is that of all 2 processes"),
        ({"method": "moco"}, "--method: expected one of densecl, dino, dinov2.*, simclr, found 'moco'"),
        ({"weights": "1,2"}, "--weights 1,2: expected a positive number for each of 1 sets"),
        ({"where": "scene == 'nowhere'"}, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error_and_leaves_no_run(images_alone, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        run(config(images_alone, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_what_was_computed_in_is_recorded(finished):
    options, outcome, _ = finished
    assert options.precision == "auto"
    recorded = yaml.safe_load(Path(options.out, "config.yaml").read_text())["precision"]
    assert recorded == outcome.data["precision"] == "32-true"
    log = Path(options.out, "lightly", "train.log").read_text()
    assert '"precision": "32-true"' in log


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [
        ("cpu", None, "32-true"),
        ("cuda", (9, 0), "bf16-mixed"),
        ("cuda", (8, 0), "bf16-mixed"),
        ("cuda", (7, 5), "32-true"),
    ],
)
def test_a_precision_that_is_not_given_is_that_of_the_device_unless_the_run_has_one(
    device, capability, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    fresh, device = config("set", tmp_path / "run"), torch.device(device)
    assert choose_precision(fresh, device) == expected
    assert choose_precision(dataclasses.replace(fresh, precision="16-mixed"), device) == "16-mixed"
    resumed = dataclasses.replace(fresh, resume=True)
    assert choose_precision(resumed, device) == expected
    for kept in ("bf16-mixed", "32-true"):
        save_config(fresh.out, dataclasses.replace(fresh, precision=kept))
        assert choose_precision(resumed, device) == kept


def test_weights_are_positive_numbers():
    assert parse_weights(None, 3) is None
    assert parse_weights("2,0.5", 2) == [2.0, 0.5]
    for text in ("2;1", "1,0", "1,-1", ""):
        with pytest.raises(UsageError, match="expected a positive number for each of 2 sets"):
            parse_weights(text, 2)


def test_image_size_scales_the_local_views_of_dino():
    assert make_transform_args(config("set", "run", image_size=64, method="dino")) == {
        "random_flip": {"vertical_prob": 0.0, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 15},
        "image_size": (64, 64),
        "local_view": {"view_size": (27, 27)},
    }
    usual = make_transform_args(config("set", "run", image_size=224, method="dino"))
    assert usual["local_view"] == {"view_size": (96, 96)}
    assert "local_view" not in make_transform_args(config("set", "run", method="simclr"))


@pytest.mark.parametrize("choice", [None, "0"])
def test_reports_over_the_network_are_off_unless_asked_for(images_alone, tmp_path, monkeypatch, choice):
    name, seen = "LIGHTLY_TRAIN_EVENTS_DISABLED", {}
    monkeypatch.delenv(name, raising=False)
    if choice is not None:
        monkeypatch.setenv(name, choice)
    before = dict(os.environ)

    def fail(**arguments):
        seen.update(os.environ)
        raise DataError("a fault")

    monkeypatch.setattr(lightly, "pretrain", fail)
    with pytest.raises(DataError, match="a fault"):
        run(config(images_alone, tmp_path / "run"))
    assert seen[name] == (choice or "1")
    assert dict(os.environ) == before


def test_an_export_of_another_model_or_of_a_diverged_run_is_refused(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "export.pt")
    with pytest.raises(DataError, match=r"resnet34: layer1\.2\.conv1\.weight: expected float32"):
        read_export(tmp_path / "export.pt", "torchvision/resnet34")
    state["layer1.0.conv1.weight"][0] = float("nan")
    torch.save(state, tmp_path / "export.pt")
    with pytest.raises(DataError, match=r"1 tensors are not finite, the first is layer1\.0\.conv1\.weight"):
        read_export(tmp_path / "export.pt", "torchvision/resnet18")
