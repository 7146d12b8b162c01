"""A rank comes to grief in a real run: the job ends, says which rank and why, and leaves no process."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from training.loading.order import epoch_order

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python"]
PRETRAIN = [
    str(Path(sys.executable).with_name("depthstream")),
    *"pretrain --method simclr --model torchvision/resnet18 --epochs 1 --batch-size 8 --image-size 32".split(),
    *"--num-workers 1 --accelerator cpu".split(),
]


def damage(url, row):
    """Change one byte of a sample's image."""
    with open(f"{url}/shards/{row['shard']}", "r+b") as shard:
        shard.seek(int(row["image_offset"]) + int(row["image_bytes"]) // 2)
        byte = shard.read(1)
        shard.seek(-1, os.SEEK_CUR)
        shard.write(bytes([byte[0] ^ 255]))


def damaged_copy(folder, original, position):
    """A copy of a set, damaged where `position` of the first epoch's order is; and what the error says of it."""
    shutil.copytree(original.url, folder)
    order = epoch_order(original.shard_sizes, seed=0, epoch=0)
    row = original.index.iloc[order[position]]
    damage(folder, row)
    return folder, f"rank 1 of 2: loader worker 0: shard shards/{row['shard']}, key {row['key']}: "


@pytest.mark.parametrize("launcher", [[], [*TORCHRUN, "--standalone", "--nproc-per-node=2"]])
def test_a_damaged_sample_is_named_with_rank_worker_shard_and_key(job, finetune, diode_sets, launcher):
    # position 14 is in the second batch of 8, among the four of rank 1
    copy, said = damaged_copy(job.folder / "set", diode_sets[0], 14)
    job.start(*launcher, *finetune(set=copy, batch_size=8, devices=2))
    assert job.wait() == [1], job.text()
    assert f"depthstream finetune: {said}" in job.text()
    assert "rank 0 of 2: lost another rank (" in job.text()


def test_pretraining_names_a_damaged_sample_too(job, megadepth_set):
    copy, said = damaged_copy(job.folder / "set", megadepth_set, 14)
    job.start(*PRETRAIN, str(copy), "--out", str(job.folder / "run"), "--devices=2")
    assert job.wait() == [1], job.text()
    assert f"depthstream pretrain: {said}" in job.text()


@pytest.fixture
def training(job, finetune):
    """A job of two ranks in its second epoch, of more than it can finish."""
    job.start(*finetune(devices=2, batch_size=8, epochs=1000))
    job.wait_for(lambda: "epoch 1/1000: train loss" in job.text(), "the first epoch")
    time.sleep(1)
    assert not (job.folder / "run" / "metrics.json").read_text().count('"epochs": 1000')
    return job


def test_a_killed_rank_ends_the_job(training):
    os.kill(training.find("LOCAL_RANK=1")[0], signal.SIGKILL)
    assert training.wait() == [1], training.text()
    assert "rank 0 of 2: lost another rank (rank 1 was killed by SIGKILL)" in training.text()


def test_a_killed_first_rank_leaves_no_orphans(training):
    os.kill(training.find()[0], signal.SIGKILL)
    assert training.wait() == [-signal.SIGKILL]
    assert "rank 1 of 2: lost another rank (" in training.text()


def test_a_rank_that_fails_before_training_ends_the_job(job, finetune, tmp_path):
    """Rank 0 waits for it to come."""
    script = tmp_path / "late.py"
    script.write_text(
        "import os, sys\n"
        "if os.environ.get('LOCAL_RANK') == '1': sys.exit(7)\n"
        "from training.__main__ import main\n"
        "sys.exit(main())\n"
    )
    _, *words = finetune(devices=2)
    job.start(sys.executable, str(script), *words, PYTHONPATH=str(Path(__file__).parents[3]))
    assert job.wait() == [1], job.text()
    assert "rank 0 of 2: lost another rank (rank 1 ended with status 7)" in job.text()
