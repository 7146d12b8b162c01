"""Every way to start a run on several processes, with the installed program."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python"]


def read_metrics(job):
    return json.loads((job.folder / "run" / "metrics.json").read_text())


def check_run(job, world):
    """The run of `finetune()` was done by `world` ranks together, and left what one process leaves."""
    metrics = read_metrics(job)
    assert metrics["split"] == {"world": world, "micro_batch": 20 // world, "accumulation": 1}
    assert (metrics["epochs"], metrics["samples_seen"]) == (1, 40)
    assert f"batch 20 = {world} ranks x 1 x {20 // world}" in job.text()
    assert {path.name for path in (job.folder / "run" / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}


@pytest.mark.slow
def test_the_program_starts_a_process_for_each_device(job, finetune):
    job.start(*finetune(devices=2))
    assert job.wait() == [0], job.text()
    check_run(job, world=2)


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_a_node(job, finetune):
    job.start(*TORCHRUN, "--standalone", "--nproc-per-node=2", *finetune())
    assert job.wait() == [0], job.text()
    check_run(job, world=2)


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_two_nodes(job, finetune, free_port):
    for node in (0, 1):
        where = ["--nnodes=2", f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={free_port}"]
        job.start(*TORCHRUN, "--nproc-per-node=1", *where, *finetune())
    assert job.wait() == [0, 0], job.text(0) + job.text(1)
    check_run(job, world=2)
    assert "finetune:" not in job.text(1)  # rank 0 alone speaks


@pytest.mark.slow
def test_slurm_starts_the_tasks_of_two_nodes(job, finetune, free_port):
    told = {"SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "depth", "SLURM_NODELIST": "localhost", "MASTER_PORT": free_port}
    told |= {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}
    for node in ("0", "1"):
        job.start(*finetune(), **told, SLURM_PROCID=node, SLURM_NODEID=node)
    assert job.wait() == [0, 0], job.text(0) + job.text(1)
    check_run(job, world=2)


@pytest.mark.slow
def test_one_shard_and_fewer_validation_samples_than_ranks_are_enough(job, finetune, make_set):
    views = [("00001", np.full((48, 64), 2.0 + number), np.ones((48, 64))) for number in range(4)]
    train, val = make_set(views), make_set(views[:1], split="val")
    assert (len(train.shard_sizes), len(val)) == (1, 1)
    job.start(*finetune(set=train.url, val=val.url, devices=2, batch_size=4))
    assert job.wait() == [0], job.text()
    metrics = read_metrics(job)
    assert (metrics["samples_seen"], metrics["val"]["samples"]) == (4, 1)
    assert metrics["last"]["abs_rel"] > 0


@pytest.mark.slow
def test_pretraining_runs_on_two_devices(job, megadepth_set):
    program, out = str(Path(sys.executable).with_name("depthstream")), job.folder / "run"
    least = "--method simclr --model torchvision/resnet18 --epochs 1 --batch-size 8 --image-size 32 --num-workers 1"
    job.start(
        program, "pretrain", megadepth_set.url, "--out", str(out), *least.split(), "--accelerator=cpu", "--devices=2"
    )
    assert job.wait() == [0], job.text()
    assert (out / "encoder.pt").is_file()
