import pytest

from sharding.errors import UsageError
from training.launch.launcher import RANK_ZERO, Started, check_launch, find_started

NAMES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID", RANK_ZERO),
    *("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_PROCID", "SLURM_JOB_NAME", "SLURM_STEP_ID"),
    *("SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NUM_NODES", "SLURM_TASKS_PER_NODE"),
)
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
SBATCH = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_PROCID": "0"}


@pytest.fixture(autouse=True)
def setenv(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return lambda values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("values", "certain"),
    [
        ({}, False),
        ({"SLURM_STEP_ID": "0"}, True),
        ({"SLURM_PROCID": "1"}, True),
    ],
)
def test_sbatch_without_srun_is_doubtful(setenv, values, certain):
    setenv(SBATCH | values)
    assert find_started() == Started(launcher="SLURM", here=2, num_nodes=1, certain=certain)


def test_torchrun_is_certain(setenv):
    setenv(TORCHRUN)
    assert find_started() == Started(launcher="torchrun", here=2, num_nodes=2)
    assert check_launch("cpu", "auto") == check_launch("cpu", "2") == 4
    with pytest.raises(UsageError, match="--devices 3 means 3 on this node, but torchrun started 2 processes on it"):
        check_launch("cpu", "3")


@pytest.mark.parametrize(
    "values",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "3"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"SLURM_PROCID": "1"},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "1"},
    ],
)
def test_a_rank_of_a_world_that_nobody_started_is_refused(setenv, values):
    setenv(values)
    name = next(name for name, value in values.items() if value not in "01" or name != "RANK")
    with pytest.raises(UsageError, match="no launcher that is known") as raised:
        check_launch("cpu", "auto")
    assert "unset " in str(raised.value)
    assert name in str(raised.value)


def test_a_world_of_one_that_is_left_over_does_not_matter(setenv):
    import os

    setenv({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "0"})
    assert check_launch("cpu", "2") == 2
    assert "LOCAL_RANK" not in os.environ  # by which Lightning would take this process for one that it started


def test_a_rank_that_lightning_started_is_right(setenv):
    setenv({"LOCAL_RANK": "1", RANK_ZERO: "4242"})
    assert check_launch("cpu", "2") == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"LOCAL_RANK": "x"}, "environment variable LOCAL_RANK: expected a number"),
        ({"TORCHELASTIC_RUN_ID": "x"}, "environment variable WORLD_SIZE: expected a number.* found nothing"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "0"}, "every node must have the same number"),
        ({"SLURM_NTASKS": "two"}, "environment variable SLURM_NTASKS"),
    ],
)
def test_variables_that_make_no_sense_are_named(setenv, values, said):
    setenv(values)
    with pytest.raises(UsageError, match=said):
        check_launch("cpu", "auto")


@pytest.mark.parametrize(
    ("accelerator", "devices", "count"),
    [("cpu", "auto", 1), ("cpu", "3", 3), ("auto", "auto", None), ("auto", "0,2", 2), ("auto", "-1", None)],
)
def test_processes_are_counted_where_that_needs_no_gpu(accelerator, devices, count):
    assert check_launch(accelerator, devices) == count


def test_a_gpu_that_is_hidden_is_not_available(setenv):
    setenv({"CUDA_VISIBLE_DEVICES": ""})
    with pytest.raises(UsageError, match="--accelerator gpu is not available: CUDA_VISIBLE_DEVICES hides all"):
        check_launch("gpu", "auto")


@pytest.mark.parametrize(
    ("values", "here", "num_nodes"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NUM_NODES": "2"}, 2, 2),
        # srun of fewer tasks than the job's script asked for, in a shell of salloc
        (
            {"SLURM_NTASKS_PER_NODE": "4", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
            | {"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2"},
            2,
            1,
        ),
        ({"SLURM_NTASKS": "6", "SLURM_TASKS_PER_NODE": "3(x2)", "SLURM_NNODES": "2"}, 3, 2),
    ],
)
def test_a_step_of_srun_counts_more_than_its_job(setenv, values, here, num_nodes):
    setenv(values)
    found = find_started()
    assert (found.here, found.num_nodes) == (here, num_nodes)


def test_a_shell_in_a_step_of_one_task_starts_the_others_itself(setenv):
    setenv(SBATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"})
    assert find_started() is None
