"""Every file of configs/ is one that its command takes, and all of its options go together."""

import re
from dataclasses import replace

import pytest

from tests.docs.documents import ROOT, parse, read_script
from training.finetuning.batches import split_batch
from training.finetuning.check import check_finetune
from training.pretraining.check import check_pretrain

FOLDER = ROOT / "configs"
FILES = sorted(FOLDER.iterdir())
CHECKS = {"finetune": check_finetune, "pretrain": check_pretrain}


def command_of(file):
    return re.match("[a-z]+", file.name)[0]


def read(file, samples, *more):
    """The options of a file, with a set and a run folder on the command line, as the program makes them."""
    return parse((command_of(file), samples, "--config", str(file), "--out", "new/run", *more))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_passes_the_check_of_its_command(file, diode_sets, tmp_path, monkeypatch):
    """As far as it goes without a GPU and the real set: the toy set has 35 outdoor views in DIODE's 12 scenes."""
    monkeypatch.chdir(tmp_path)
    config = read(file, diode_sets[0].url, "--accelerator", "cpu", "--batch-size", "16", "--seed", "1")
    CHECKS[command_of(file)](config)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_command_in_a_file_is_one_and_takes_the_file(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    (words,) = read_script(file.read_text().replace("\n#", "\n"))
    assert words[0] == command_of(file)
    assert f"configs/{file.name}" in words
    parse(words)


def test_the_two_full_size_runs_learn_the_same():
    four, one = (read(FOLDER / f"finetune-{name}.yaml", "set") for name in ("4x24gb", "1x80gb"))
    placed = {"devices": "1", "micro_batch": "8", "num_workers": 8}
    assert replace(four, **placed) == replace(one, **placed)
    # BatchNorm sees as many images at once: of all cards, since they share its statistics.
    assert four.sync_batchnorm is None
    assert int(four.devices) * int(four.micro_batch) == int(one.devices) * int(one.micro_batch) == 8


def test_the_reduced_run_differs_in_size_alone():
    full, half = (read(FOLDER / f"finetune-{name}.yaml", "set") for name in ("1x80gb", "half-resolution"))
    size = {name: getattr(full, name) for name in ("encoder_name", "scale", "height", "width")}
    assert replace(half, **size) == full
    assert (half.height / half.scale, half.width / half.scale) == (full.height, full.width)


@pytest.mark.parametrize("file", [file for file in FILES if "finetune" in file.name], ids=lambda file: file.name)
def test_a_batch_can_be_split_as_the_file_says(file):
    config = read(file, "set")
    split = split_batch(config.batch_size, int(config.devices), config.micro_batch, 0)
    assert split.world * split.micro_batch * split.accumulation == 32
