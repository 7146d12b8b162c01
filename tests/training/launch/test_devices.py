import pytest
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Trainer

from sharding.errors import UsageError
from training.launch.devices import Placement, find_devices, place
from training.pretraining.lightly import stream_arguments

CPU = torch.device("cpu")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "run", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "3", "SLURM_JOB_NAME": "depth"}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in (*TORCHRUN, *SLURM, "SLURM_JOB_NUM_NODES", "LOCAL_RANK", "RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def setenv(monkeypatch):
    return lambda values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def test_one_cpu_process_is_used_unless_told_otherwise():
    assert find_devices("cpu") == [CPU]
    assert find_devices("cpu", "3") == [CPU] * 3


@pytest.mark.parametrize(
    ("accelerator", "devices", "said"),
    [
        ("cpu", "0", "devices '0' on cpu"),
        ("cpu", "0,1", "devices '0,1' on cpu"),
        ("tpu", "auto", "no accelerator 'tpu'; there are auto, gpu, cuda, mps, cpu"),
    ],
)
def test_what_is_not_there_is_a_usage_error(accelerator, devices, said):
    with pytest.raises(UsageError, match=said):
        find_devices(accelerator, devices)


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_usage_error():
    with pytest.raises(UsageError, match="'gpu' is not available"):
        find_devices("gpu")


def test_without_a_launcher_the_devices_are_those_of_one_node(monkeypatch):
    placement = place("cpu", "3")
    assert placement == Placement((CPU,) * 3, num_nodes=1, external=False)
    assert (placement.world, placement.rank, placement.kind) == (3, 0, "cpu")
    assert placement.trainer_arguments() == {"accelerator": "cpu", "devices": 3, "num_nodes": 1}
    monkeypatch.setenv("LOCAL_RANK", "2")  # as Lightning tells those that it starts
    assert place("cpu", "3").rank == 2


def test_torchrun_decides_the_processes(setenv):
    setenv(TORCHRUN | {"RANK": "3"})
    placement = place("cpu")
    assert placement == place("cpu", "2") == Placement((CPU,) * 2, num_nodes=2, external=True)
    assert (placement.world, placement.rank) == (4, 3)
    assert isinstance(placement.make_environment(), TorchElasticEnvironment)


def test_slurm_decides_the_processes(setenv):
    setenv(SLURM | {"SLURM_PROCID": "5"})
    placement = place("cpu")
    assert placement == place("cpu", "3") == Placement((CPU,) * 3, num_nodes=2, external=True)
    assert (placement.world, placement.rank) == (6, 5)


def test_torchrun_within_slurm_comes_first(setenv):
    setenv(SLURM | TORCHRUN)
    assert place("cpu").world == 4
    assert isinstance(place("cpu").make_environment(), TorchElasticEnvironment)


@pytest.mark.parametrize("one_task", [{"SLURM_NTASKS": "1"}, SLURM | {"SLURM_JOB_NAME": "interactive"}])
def test_one_slurm_task_or_a_shell_is_like_any_machine(setenv, one_task):
    setenv(one_task)
    placement = place("cpu", "2")
    assert placement == Placement((CPU,) * 2)
    assert isinstance(placement.make_environment(), LightningEnvironment)


@pytest.mark.parametrize(
    ("values", "devices", "said"),
    [
        (TORCHRUN, "3", "--devices 3 means 3 on this node, but torchrun started 2 processes on it"),
        (SLURM, "2", "--devices 2 means 2 on this node, but SLURM started 3 processes on it"),
        (TORCHRUN | {"WORLD_SIZE": "3"}, "auto", "torchrun started 3 processes on 2 nodes, 2 of them on this one"),
        (SLURM | {"SLURM_NTASKS": "5"}, "auto", "SLURM started 5 processes on 2 nodes, 3 of them on this one"),
        (
            {"SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "2"},
            "auto",
            "SLURM started 4 tasks on 2 nodes and does not report .* --ntasks-per-node=2",
        ),
    ],
)
def test_a_launcher_that_started_something_else_is_a_usage_error(setenv, values, devices, said):
    setenv(values)
    with pytest.raises(UsageError, match=said):
        place("cpu", devices)


def test_gpus_are_named_by_their_ids():
    placement = Placement((torch.device("cuda", 1), torch.device("cuda", 3)), num_nodes=2)
    assert placement.trainer_arguments() == {"accelerator": "gpu", "devices": [1, 3], "num_nodes": 2}


def test_lightning_does_not_requeue_a_slurm_job(setenv):
    setenv(SLURM | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"})
    placement = place("cpu")
    trainer = Trainer(
        **placement.trainer_arguments(), plugins=[placement.make_environment()], strategy="ddp", logger=False
    )
    environment = trainer.strategy.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert trainer.world_size == 6


@pytest.mark.parametrize("devices", ["1", "2"])
def test_a_slurm_job_of_one_task_pretrains_like_any_machine(setenv, megadepth_set, devices):
    setenv({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "depth"})
    arguments = stream_arguments(megadepth_set, accelerator="cpu", devices=devices)
    del arguments["data"]
    trainer = Trainer(**arguments, logger=False)
    assert isinstance(trainer._accelerator_connector.cluster_environment, LightningEnvironment)
    assert trainer.world_size == int(devices)
