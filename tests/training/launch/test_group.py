from types import SimpleNamespace

import pytest
from torch import distributed

from sharding.errors import UsageError
from training.launch.group import GROUP_TIMEOUT, DepthDDP, SameOnAllRanks, abort_group, end_group, has_group
from training.pretraining.lightly import StreamDDP


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
