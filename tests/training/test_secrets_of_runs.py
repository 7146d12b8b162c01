"""Neither trainer, nor the report about a run, keeps a secret; `tests/sharding/test_secrets.py` has the rest."""

from pathlib import Path

import pytest

from tests.sharding.test_hiding import SECRET
from tests.sharding.test_secrets import assert_no_secret, private_server
from training.config import CompareConfig, FinetuneConfig, PretrainConfig
from training.finetuning import finetune
from training.pretraining import pretrain
from training.report import compare

MACHINE = {"num_workers": 0, "accelerator": "cpu", "devices": "1", "epochs": 1}
SMALL = {"encoder_name": "resnet18", "height": 40, "width": 48, "batch_size": 8, "micro_batch": "4"}
SUBSET = {"where": "scene_type == 'outdoor'"}


@pytest.mark.slow
def test_a_run_keeps_no_secret(diode_sets, tmp_path, capfd):
    pipe = f"KEY={SECRET} cat {{url}}"
    webdataset = {"reader": "webdataset", "shuffle_buffer": 6, "pipe": pipe}
    options = SMALL | MACHINE | SUBSET | webdataset
    train, val = (one.url for one in diode_sets)
    finetune.run(FinetuneConfig(set=train, val=val, out=str(tmp_path / "tuned"), **options))
    finetune.run(FinetuneConfig(set=train, val=val, out=str(tmp_path / "tuned"), resume=True, **options))
    out = tmp_path / "report.html"
    outcome = compare.run(
        CompareConfig(runs=(str(tmp_path / "tuned"),), out=str(out), num_workers=0, accelerator="cpu")
    )
    assert "curl" not in out.read_text()
    assert "cat (the rest of the command is not saved" in out.read_text()
    with private_server(Path(train).parent) as (private, _):
        options = {"model": "torchvision/resnet18", "method": "simclr", "batch_size": 8, "image_size": 32} | MACHINE
        address = f"{private}/{Path(train).name}"
        pretrain.run(PretrainConfig(sets=(address,), out=str(tmp_path / "pretrained"), **options))
    said = capfd.readouterr()
    assert_no_secret(said.out + said.err + outcome.text + str(outcome.data), tmp_path)
