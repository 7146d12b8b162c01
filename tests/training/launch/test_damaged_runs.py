"""Whole runs on sets with damaged samples, by the installed program: which they leave out, and that nothing else moves.

Stopped by SIGKILL and resumed, with other workers, and on two ranks.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.damage import damaged_copy
from training.loading.order import epoch_order

pytestmark = pytest.mark.slow

PRETRAIN = [
    str(Path(sys.executable).with_name("depthstream")),
    *"pretrain --method simclr --model torchvision/resnet18 --epochs 4 --batch-size 8 --image-size 32".split(),
    *"--accelerator cpu --checkpoint-every 1steps --json".split(),
]
POSITIONS = (2, 6, 12)  # of the first epoch's order: of two ranks, the first has 2, the second the others


@pytest.fixture(params=["pretrain", "finetune"])
def training(request, job, finetune, megadepth_set, diode_sets):
    """A function from words and options to a run of one of the trainers on a damaged set; and the damaged keys."""
    original = megadepth_set if request.param == "pretrain" else diode_sets[0]
    order = epoch_order(original.shard_sizes, seed=0, epoch=0)
    rows = [order[position] for position in POSITIONS]
    copy = damaged_copy(job.folder / "set", original, rows).url

    def start(out, *words, workers=0, max_bad=3):
        more = ["--out", str(job.folder / out), f"--num-workers={workers}", f"--max-bad={max_bad}", *words]
        if request.param == "pretrain":
            return job.start(*PRETRAIN, copy, *more)
        options = {"set": copy, "batch_size": 8, "epochs": 2, "checkpoint_every": "1steps", "height": 33, "width": 33}
        return job.start(*finetune(**options), *more, "--json")

    start.keys = [original.index["key"].iloc[row] for row in rows]
    start.weights = "encoder.pt" if request.param == "pretrain" else "checkpoints/last.ckpt"
    return start


def result(job, number):
    """The JSON that a command printed, found among what it reported."""
    (line,) = (line for line in job.text(number).splitlines() if line.startswith('{"'))
    return json.loads(line)


def weights(path):
    found = torch.load(path, map_location="cpu", weights_only=True)
    return found.get("state_dict", found)


def same(one, other):
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_killed_run_resumes_to_the_weights_and_the_count_of_one_that_was_not(job, training):
    training("whole")
    assert job.wait() == [0], job.text()
    assert (result(job, 0)["bad_samples"], result(job, 0)["bad_keys"]) == (3, training.keys)
    training("killed", workers=2)
    job.wait_for(lambda: "step 2;" in job.text(1), "the second step")
    for pid in job.find():
        os.kill(pid, signal.SIGKILL)
    assert job.wait()[1] == -signal.SIGKILL, job.text(1)
    assert "a damaged sample is left out (1 of at most 3)" in job.text(1)
    training("killed", "--resume", workers=1, max_bad=20)
    assert job.wait()[2] == 0, job.text(2)
    assert (result(job, 2)["bad_samples"], result(job, 2)["bad_keys"]) == (3, training.keys)
    assert "a damaged sample is left out (1 of" not in job.text(2)  # it was named before
    assert same(job.folder / "whole" / training.weights, job.folder / "killed" / training.weights)
    assert logged(job.folder / "whole")[-1] == 3


def logged(run):
    (folder,) = {path.parent for path in run.rglob("events.out.*")}
    return [one.value for one in EventAccumulator(str(folder)).Reload().Scalars("data/bad_samples")]


def test_two_ranks_count_together(job, training):
    training("run", "--devices=2", workers=1)
    assert job.wait() == [0], job.text()
    found = result(job, 0)
    assert (found["bad_samples"], sorted(found["bad_keys"])) == (3, sorted(training.keys))
    for key in training.keys:
        assert sum(key in line for line in job.text().splitlines() if "is left out" in line) == 1


def test_one_too_many_over_two_ranks_ends_both_with_all_keys(job, training):
    training("run", "--devices=2", workers=1, max_bad=2)
    assert job.wait() == [1], job.text()
    for rank in range(2):
        (said,) = (line for line in job.text().splitlines() if f": rank {rank} of 2: 3 damaged samples" in line)
        assert "more than --max-bad 2: " in said
        assert all(key in said for key in training.keys)
