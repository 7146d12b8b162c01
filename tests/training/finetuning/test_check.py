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
