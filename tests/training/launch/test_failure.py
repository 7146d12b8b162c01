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


SLURM = {"SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "depth", "SLURM_NODELIST": "localhost", "SLURM_LOCALID": "0"}
SLURM |= {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1"}


def test_a_killed_task_of_slurm_is_named_within_half_a_minute(job, finetune, free_port):
    for node in ("0", "1"):
        named = {"SLURM_PROCID": node, "SLURM_NODEID": node, "SLURM_STEP_ID": "0", "MASTER_PORT": free_port}
        job.start(*finetune(batch_size=8, epochs=1000), **SLURM, **named)
    job.wait_for(lambda: "epoch 1/1000: train loss" in job.text(), "the first epoch")
    os.kill(job.find("SLURM_PROCID=1")[0], signal.SIGKILL)
    begin = time.monotonic()
    assert job.wait() == [1, -signal.SIGKILL], job.text()
    assert time.monotonic() - begin < 30
    assert (
        "rank 0 of 2: lost another rank (rank 1 is gone: it was killed, or has ended, or its machine is down)"
        in job.text()
    )


def test_sbatch_without_srun_is_told_and_leaves_no_run(job, finetune, free_port):
    job.start(*finetune(), **SLURM, SLURM_PROCID="0", SLURM_NODEID="0", MASTER_PORT=free_port)
    assert job.wait() == [2], job.text()
    last = job.text().splitlines()[-1]
    assert "SLURM's variables name 2 tasks, but rank 1 of 2 did not come within 20 s" in last
    assert "srun depthstream" in last
    assert not (job.folder / "run").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_the_wait_for_other_ranks(job, finetune, free_port, number, status):
    named = {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_STEP_ID": "0", "MASTER_PORT": free_port}
    process = job.start(*finetune(), **SLURM, **named)
    job.wait_for(lambda: "waiting at" in job.text(), "the wait")
    begin = time.monotonic()
    process.send_signal(number)
    assert job.wait() == [status], job.text()
    assert time.monotonic() - begin < 20
    assert "Traceback" not in job.text()


def test_two_processes_do_not_resume_one_run(training, finetune):
    """Both would train, and write the same checkpoint."""
    training.start(*finetune(batch_size=8, epochs=1000), "--resume")
    training.wait_for(lambda: "another process trains this run" in training.text(1), "the refusal")
    assert "epoch 2/1000" in training.text(0) or training.find("LOCAL_RANK=1")
    os.kill(training.find()[0], signal.SIGTERM)
    assert training.wait() == [143, 2], training.text()


def test_a_long_path_for_temporary_files_is_no_obstacle(job, finetune):
    long = job.folder / ("x" * 90)
    long.mkdir()
    job.start(*finetune(num_workers=2), TMPDIR=str(long))
    assert job.wait() == [0], job.text()
