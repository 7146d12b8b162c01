"""Two gloo ranks that agree on the least of their numbers; also the script that they run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.launch import memory
from training.launch.devices import Placement, place
from training.launch.group import end_group, has_group
from training.launch.memory import least_free_memory, least_of_ranks

ROOT = Path(__file__).parents[3]
GPUS = tuple(torch.device("cuda", index) for index in range(3))


def test_a_cpu_sets_no_limit():
    assert least_free_memory(Placement((torch.device("cpu"),))) is None


def test_a_single_gpu_is_asked_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * 10**9 + device.index, 80 * 10**9))
    assert least_free_memory(Placement(GPUS[1:2])) == 7 * 10**9 + 1


def test_rank_0_asks_for_all_and_tells_those_that_it_starts(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command[-3:])
        return subprocess.CompletedProcess(command, 0, stdout="5000000000\n")

    monkeypatch.setattr(memory.subprocess, "run", run)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("DEPTHSTREAM_LEAST_MEMORY", "1")  # of an earlier run
    assert least_free_memory(Placement(GPUS)) == 5 * 10**9
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert least_free_memory(Placement(GPUS)) == 5 * 10**9
    assert asked == [["0", "1", "2"]]


@pytest.mark.slow
def test_ranks_that_a_launcher_started_agree_on_the_least():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    done = subprocess.run(
        [*command, f"--master-port={port}", __file__], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["100:40", "40:40"]


if __name__ == "__main__":
    here = place("cpu")
    own = (100, 40)[here.rank]
    least = least_of_ranks(here, own)
    sys.stdout.write(f"{own}:{least}\n")
    assert has_group()
    end_group()
    assert not has_group()
