"""Runs that are killed at random steps, in whatever they do, and go on as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
import torch

DRIVE = Path(__file__).parent / "drive.py"
LIMIT_S = 240


def start(words, out, resume, pause_s):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TINY": "1", "PAUSE_S": str(pause_s)}
    command = [sys.executable, str(DRIVE), *words, "--out", str(out), *(["--resume"] if resume else [])]
    with open(f"{out}.log", "ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(words, out, resume=False, pause_s=0.0):
    """Run to the end."""
    process = start(words, out, resume, pause_s)
    try:
        assert process.wait(LIMIT_S) == 0, log_of(out)
    finally:
        end_group(process, signal.SIGKILL)


def log_of(out):
    return Path(f"{out}.log").read_text()[-4000:]


def end_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
    process.wait(30)


def wait_for_step(process, out, step, seen):
    """Until rank 0 has trained on a micro-batch of `step` or later, in a line after the first `seen` ones."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log_of(out)
        lines = read_record(out, 0)[seen:]
        if lines and lines[-1]["step"] >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached: {log_of(out)}")


def read_record(out, rank):
    """What a rank has written; a kill may have cut the last line."""
    file = out / f"keys-{rank}.jsonl"
    lines = file.read_text().split("\n") if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def run_with_kills(words, out, kills, total_steps, seed):
    """Kill a run `kills` times at random steps, each time in the middle of training, and let it finish."""
    for step in sorted(random.Random(seed).sample(range(1, total_steps - 1), kills)):
        kill(words, out, step)
        assert step <= max(line["step"] for line in read_record(out, 0)) < total_steps - 1
    finish(words, out, resume=True)


def kill(words, out, step):
    """Kill -9 all processes of a run when it has done `step`."""
    process = start(words, out, resume=True, pause_s=0.05)
    try:
        wait_for_step(process, out, step, len(read_record(out, 0)))
    finally:
        end_group(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def history(out, ranks):
    """What was trained on at each (rank, epoch, micro-batch); what was done twice must have been the same."""
    found = {}
    for rank in range(ranks):
        for line in read_record(out, rank):
            place = (rank, line["epoch"], line["micro"])
            assert found.setdefault(place, line["keys"]) == line["keys"], place
    return found


def assert_same(one, other, place=""):
    """Bit for bit, through dicts and lists."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for name in one:
            assert_same(one[name], other[name], f"{place}/{name}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{place}/{number}")
    else:
        assert one == other, place


def assert_same_end(reference, killed):
    """Weights, optimizer, schedule and place of the last checkpoints."""
    ends = [
        torch.load(out / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
        for out in (reference, killed)
    ]
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(ends[0][name], ends[1][name], name)
    assert_same(*(end["callbacks"]["SampleCounter"] for end in ends))


def assert_whole_epochs(found, num_samples, batch_size, epochs):
    trained = defaultdict(list)
    for (_, epoch, _), keys in found.items():
        trained[epoch] += keys
    assert sorted(trained) == list(range(epochs))
    for keys in trained.values():
        assert len(keys) == len(set(keys)) == num_samples // batch_size * batch_size


def as_words(options):
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def finetune_words(diode_sets, processes, workers, accumulation, epochs=8, **options):
    train, val = diode_sets
    small = {"encoder_name": "resnet18", "height": 48, "width": 48, "epochs": epochs, "batch_size": 12}
    machine = {"accelerator": "cpu", "devices": processes, "num_workers": workers, "deterministic": ""}
    cut = {"micro_batch": 12 // processes // accumulation, "checkpoint_every": "2steps"}
    words = as_words({"val": val.url} | small | machine | cut | options)
    return ["finetune", train.url, *(word for word in words if word)]


def pretrain_words(megadepth_set, method, processes, workers):
    options = {"method": method, "model": "torchvision/resnet18", "image_size": 32, "batch_size": 10, "epochs": 8}
    machine = {"accelerator": "cpu", "devices": processes, "num_workers": workers, "checkpoint_every": "2steps"}
    return ["pretrain", megadepth_set.url, *as_words(options | machine), "--deterministic"]


def check_finetune(diode_sets, folder, kills, **cut):
    words, epochs = finetune_words(diode_sets, **cut), cut.get("epochs", 8)
    reference, killed = folder / "reference", folder / "killed"
    finish(words, reference)
    run_with_kills(words, killed, kills, total_steps=3 * epochs, seed=str(cut))
    assert_same_run(reference, killed, cut["processes"])
    assert_whole_epochs(history(reference, cut["processes"]), len(diode_sets[0]), 12, epochs)


def assert_same_run(reference, other, ranks):
    """The same end, by the same way, and the same numbers on record."""
    assert_same_end(reference, other)
    assert history(reference, ranks) == history(other, ranks)
    for name in ("last", "best"):
        rows = [json.loads((out / "metrics.json").read_text())[name] for out in (reference, other)]
        assert rows[0] | {"seconds": 0} == rows[1] | {"seconds": 0}


@pytest.fixture(scope="module")
def undisturbed(diode_sets, tmp_path_factory):
    """The words of a run of 12 steps on one process, and its folder."""
    words, out = finetune_words(diode_sets, 1, 2, 2, epochs=4), tmp_path_factory.mktemp("runs") / "reference"
    finish(words, out)
    return words, out


def stop(words, out, number, step):
    """Ask a run to stop when it has done `step`, everything in it or only its first process; the exit status."""
    process = start(words, out, resume=True, pause_s=0.05)
    try:
        wait_for_step(process, out, step, len(read_record(out, 0)))
        os.killpg(process.pid, number)
        return process.wait(60)
    finally:
        end_group(process, signal.SIGKILL)


@pytest.mark.slow
def test_a_finetune_that_is_killed_then_preempted_ends_as_if_it_had_not_been(undisturbed, diode_sets, tmp_path):
    words, reference = undisturbed
    out = tmp_path / "stopped"
    kill(words, out, 3)
    assert stop(words, out, signal.SIGTERM, 6) == 128 + signal.SIGTERM
    assert "saved; run the same command with --resume" in log_of(out)
    last = out / "checkpoints" / "last.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    finish(words, out, resume=True)
    assert f"{last} is damaged" in log_of(out)
    assert f"resume: {out}/checkpoints/last-1.ckpt, " in log_of(out)
    assert_same_run(reference, out, 1)
    assert_whole_epochs(history(reference, 1), len(diode_sets[0]), 12, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_two_processes_stop_together_and_go_on_as_one(diode_sets, tmp_path, number):
    two, one = (finetune_words(diode_sets, processes, 2, 1, epochs=4) for processes in (2, 1))
    reference, out = tmp_path / "reference", tmp_path / "stopped"
    finish(one, reference)
    assert stop(two, out, number, 4) == 128 + number
    with_two = global_batches(history(out, 2))
    (out / "keys-1.jsonl").unlink()
    finish(one, out, resume=True)
    assert len(with_two) in range(5, 12)
    assert with_two | global_batches_of_last(out, from_step=len(with_two)) == global_batches(history(reference, 1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pretrain_stopped_on_two_processes_goes_on_on_one(megadepth_set, tmp_path):
    two, one = (pretrain_words(megadepth_set, "simclr", processes, 2) for processes in (2, 1))
    reference, out = tmp_path / "reference", tmp_path / "stopped"
    finish(one, reference)
    assert stop(two, out, signal.SIGTERM, 5) == 128 + signal.SIGTERM
    with_two = global_batches(history(out, 2))
    (out / "keys-1.jsonl").unlink()
    finish(one, out, resume=True)
    assert len(with_two) in range(6, 16)
    assert with_two | global_batches_of_last(out, from_step=len(with_two)) == global_batches(history(reference, 1))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_that_lost_one_rank_goes_on_bit_identical(diode_sets, tmp_path, rank):
    words = finetune_words(diode_sets, 2, 2, 1, epochs=4)
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    finish(words, reference)
    process = start(words, killed, resume=True, pause_s=0.05)
    try:
        wait_for_step(process, killed, 5, 0)
        os.kill(process.pid if rank == 0 else rank_one_of(process.pid), signal.SIGKILL)
        assert process.wait(60) != 0
    finally:
        end_group(process, signal.SIGKILL)
    finish(words, killed, resume=True)
    assert_same_run(reference, killed, 2)


def rank_one_of(parent):
    """The process that Lightning started beside rank 0."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ranks = [pid for pid in children if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    assert len(ranks) == 1
    return int(ranks[0])


def global_batches(found):
    """The keys of each (epoch, step), in order; micro-batches are whole steps here."""
    batches = defaultdict(list)
    for (_, epoch, micro), keys in sorted(found.items()):
        batches[epoch, micro] += keys
    return dict(batches)


def global_batches_of_last(out, from_step):
    lines = [line for line in read_record(out, 0) if line["step"] >= from_step]
    return {(line["epoch"], line["micro"]): line["keys"] for line in lines}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_finetune_killed_five_times_ends_bit_identical(diode_sets, tmp_path, processes, workers, accumulation):
    check_finetune(diode_sets, tmp_path, kills=5, processes=processes, workers=workers, accumulation=accumulation)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_a_pretrain_killed_five_times_ends_bit_identical(megadepth_set, tmp_path, method, processes, workers):
    words = pretrain_words(megadepth_set, method, processes, workers)
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    finish(words, reference)
    run_with_kills(words, killed, kills=5, total_steps=16, seed=f"{method}{processes}{workers}")
    assert_same_end(reference, killed)
    encoders = [torch.load(out / "encoder.pt", weights_only=True) for out in (reference, killed)]
    assert_same(*encoders)
    found = history(reference, processes)
    assert found == history(killed, processes)
    assert_whole_epochs(found, len(megadepth_set), 10, 8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pretrain_with_views_of_the_device_goes_on_with_other_workers(megadepth_set, tmp_path):
    """Killed with two workers, in the middle of an epoch and elsewhere; the last part has none."""
    words = [*pretrain_words(megadepth_set, "simclr", 1, 2), "--views", "gpu"]
    alone = [*pretrain_words(megadepth_set, "simclr", 1, 0), "--views", "gpu"]
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    finish(alone, reference)
    for step in (4, 9):
        kill(words, killed, step)
    finish(alone, killed, resume=True)
    assert_same_end(reference, killed)
    assert (reference / "encoder.pt").read_bytes() == (killed / "encoder.pt").read_bytes()
    assert history(reference, 1) == history(killed, 1)
    assert_whole_epochs(history(reference, 1), len(megadepth_set), 10, 8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pretrain_that_streams_whole_shards_goes_on_in_the_middle_of_an_epoch(megadepth_set, tmp_path):
    """An epoch has two steps: every other checkpoint is in the middle of one."""
    words = pretrain_words(megadepth_set, "simclr", processes=2, workers=2)
    words += as_words({"reader": "webdataset", "shuffle_buffer": 6, "checkpoint_every": "3steps"})
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    finish(words, reference)
    run_with_kills(words, killed, kills=3, total_steps=16, seed="webdataset")
    assert_same_end(reference, killed)
    found = history(reference, 2)
    assert found == history(killed, 2)
    assert_whole_epochs(found, len(megadepth_set), 10, 8)
