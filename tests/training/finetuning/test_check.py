"""What is wrong with the options of a run, found before anything is loaded."""

import json
from dataclasses import replace

import pytest

from sharding.errors import UsageError
from training.config import FinetuneConfig
from training.finetuning.check import check_finetune
from training.runfolder import save_config

BEFORE = "set: a\nval: b\nout: c\nepochs: 2\nloss: {}\n"
"""What config.yaml had before there were held-out scenes, a scale, and a loss that the depth decides."""


def test_a_run_of_an_earlier_version_is_resumed_by_the_command_it_was_begun_with(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"finished": True}))
    config = FinetuneConfig(set="a", val="b", out=str(tmp_path), epochs=2, resume=True)
    (tmp_path / "config.yaml").write_text(BEFORE.format("silog"))
    check_finetune(config)
    check_finetune(replace(config, loss="silog"))
    for other in ({"loss": "l1_log"}, {"holdout_scenes": "3"}, {"scale": 0.5}, {"augment": "tutorial"}):
        with pytest.raises(UsageError, match=f"begun with --{next(iter(other)).replace('_', '-')} "):
            check_finetune(replace(config, **other))
    (tmp_path / "config.yaml").write_text(BEFORE.format("l1_log"))
    check_finetune(config)
    with pytest.raises(UsageError, match="begun with --loss l1_log, not silog"):
        check_finetune(replace(config, loss="silog"))


def test_held_out_scenes_may_be_written_in_another_way_when_a_run_is_resumed(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"finished": True}))
    config = FinetuneConfig(set="a", out=str(tmp_path), holdout_scenes="00007,00012", resume=True)
    save_config(tmp_path, config)
    check_finetune(replace(config, holdout_scenes=" 00012 , 00007,"))
    for other in ("00007", "2", None):
        with pytest.raises(UsageError, match="begun with --holdout-scenes 00007,00012, not"):
            check_finetune(replace(config, holdout_scenes=other))


def finished_run(out, sets, **options):
    config = FinetuneConfig(set=sets[0].url, val=sets[1].url, out=str(out), resume=True, **options)
    save_config(out, config)
    train, val = (
        {"identity": one.manifest.identity, "name": name} for one, name in zip(sets, ("train", "val"), strict=True)
    )
    (out / "metrics.json").write_text(json.dumps({"train": train, "val": val, "finished": True}))
    return config


def test_a_finished_run_is_not_said_to_be_of_other_sets(diode_sets, tmp_path):
    config = finished_run(tmp_path, diode_sets)
    check_finetune(config)
    check_finetune(replace(config, set=str(tmp_path / "gone"), val="https://example.org/gone"))  # needed no more
    train, val = (one.manifest.identity[:12] for one in diode_sets)
    said = f"the {{}} set of {tmp_path} was {{}} with identity {{}}, but .* has {{}} now"
    with pytest.raises(UsageError, match=said.format("train", "train", train, val)):
        check_finetune(replace(config, set=diode_sets[1].url))
    with pytest.raises(UsageError, match=said.format("val", "val", val, train)):
        check_finetune(replace(config, val=diode_sets[0].url))


def test_a_set_that_a_finished_run_never_opened_may_be_any(diode_sets, tmp_path):
    config = finished_run(tmp_path, (diode_sets[0], diode_sets[0]), holdout_scenes="1")
    check_finetune(replace(config, val=diode_sets[1].url))


def config_of(sets, out, **options):
    least = {"encoder_name": "resnet18", "batch_size": 16, "accelerator": "cpu", "num_workers": 2, "epochs": 1}
    return FinetuneConfig(set=sets[0].url, val=sets[1].url, out=str(out), **(least | options))


def test_workers_without_room_for_their_batches_are_refused_before_anything_is_written(
    diode_sets, tmp_path, shared_memory
):
    shared_memory(64 * 2**20)
    config = config_of(diode_sets, tmp_path / "run")
    # 40 views are two batches; 8 views of validation are one.
    said = r"need 152 MB .* \(2 batches of 75\.5 MB for training and 1 batch of 0\.4 MB for images at native size\)"
    with pytest.raises(UsageError, match=said):
        check_finetune(config)
    for fits in ({"num_workers": 0}, {"micro_batch": "2"}, {"height": 256, "width": 256}):
        check_finetune(replace(config, **fits))
    shared_memory(256 * 2**20)
    check_finetune(config)
    shared_memory(128 * 2**20)
    with pytest.raises(UsageError, match="in each of 2 processes"):
        check_finetune(replace(config, batch_size=32, devices="2"))
    assert not (tmp_path / "run").exists()


def test_a_micro_batch_that_is_known_later_is_reckoned_then(diode_sets, tmp_path, shared_memory):
    from training.finetuning.finetune import init_model, train

    shared_memory(64 * 2**20)
    config = config_of(diode_sets, tmp_path / "run", accelerator="auto")
    check_finetune(config)  # of a GPU, a micro-batch of 1 would fit
    with pytest.raises(UsageError, match="the loader's workers need 152 MB"):
        train(config, lambda: init_model(encoder_name="resnet18"))
    assert not (tmp_path / "run").exists()
