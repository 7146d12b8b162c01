import pytest
import torch

from sharding.errors import UsageError
from training.devices import find_devices


def test_one_cpu_process_is_used_unless_told_otherwise():
    assert find_devices("cpu") == [torch.device("cpu")]
    assert find_devices("cpu", "3") == [torch.device("cpu")] * 3


def test_torchrun_decides_the_number_of_cpu_processes(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_devices("cpu") == [torch.device("cpu")] * 2


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
