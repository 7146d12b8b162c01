from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from sharding.errors import UsageError
from training.launch import group
from training.launch.devices import Placement
from training.launch.group import GROUP_TIMEOUT, DepthDDP, SameOnAllRanks, abort_group, end_group, has_group
from training.pretraining.strategy import StreamDDP


def told(first):
    """A trainer of another rank than 0, that is told what rank 0 is about to do."""
    return SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda plan: first))


def test_ranks_that_are_about_to_do_the_same_go_on():
    plan = {"split": {"micro_batch": 4, "accumulation": 2}, "seed": 3}
    SameOnAllRanks(plan).on_fit_start(told(dict(plan)), None)


def test_ranks_that_would_accumulate_differently_are_refused():
    mine, other = ({"seed": 3, "split": {"accumulation": count}} for count in (2, 4))
    said = r"split: expected the same on all ranks, found \{'accumulation': 4\} on rank 0, \{'accumulation': 2\} here"
    with pytest.raises(UsageError, match=said):
        SameOnAllRanks(mine).on_fit_start(told(other), None)


@pytest.mark.parametrize("make", [DepthDDP, lambda: StreamDDP(SimpleNamespace(seed=0))])
@pytest.mark.parametrize(("backend", "aborted"), [("nccl", 1), ("gloo", 0)])
def test_a_rank_that_raises_leaves_an_nccl_group_before_anything_is_torn_down(make, backend, aborted, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(distributed.distributed_c10d, "_abort_process_group", lambda: calls.append("aborted"))
    strategy = make()
    assert strategy._timeout == GROUP_TIMEOUT
    strategy.on_exception(ValueError())
    assert len(calls) == aborted


def test_without_a_group_nothing_is_done():
    assert not has_group()
    abort_group()
    end_group()


@pytest.mark.parametrize(
    ("last", "remedy"),
    [
        ("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 60", "give each rank a GPU of its own"),
        ("Call to bind failed: Address in use", "NCCL_DEBUG=WARN shows more"),
    ],
)
def test_what_nccl_refuses_is_told_in_one_line(last, remedy, monkeypatch):
    def refuse(*_, **__):
        raise distributed.DistBackendError(
            f"NCCL error in: NCCLUtils.cpp:93, NCCL version 2.28.9\nLast error:\n{last}\n"
        )

    monkeypatch.setattr(distributed, "init_process_group", refuse)
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # it sets them
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(group, "find_started", lambda: SimpleNamespace(world=2))
    monkeypatch.setattr(group, "RollCall", lambda *_, **__: SimpleNamespace(meet=lambda: None))
    environment = SimpleNamespace(main_address="127.0.0.1", main_port=1, global_rank=lambda: 0, local_rank=lambda: 0)
    monkeypatch.setattr(Placement, "make_environment", lambda self: environment)
    with pytest.raises(UsageError) as caught:
        group.start_group(Placement((torch.device("cpu"),), num_nodes=2, external=True))
    assert str(caught.value) == f"NCCL cannot bring the ranks together: {last}; {remedy} (docs/multi-gpu.md)"
    group._STARTED.clear()
