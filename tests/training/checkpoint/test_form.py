"""Checkpoints whose values load, and are those of another trainer: refused by place before anything is restored."""

import copy
import math

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR

from sharding.errors import DataError
from training.checkpoint.form import check_form, check_optimizer


def trained(kind=AdamW, **options):
    net = torch.nn.Linear(2, 3)
    optimizer = kind(net.parameters(), **options)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(("kind", "options"), [(AdamW, {}), (SGD, {"lr": 0.1, "momentum": 0.9}), (SGD, {"lr": 0.1})])
def test_an_optimizer_takes_its_own_state_before_and_after_a_step(kind, options):
    optimizer, fresh = trained(kind, **options), kind(torch.nn.Linear(2, 3).parameters(), **options)
    for state in (optimizer.state_dict(), fresh.state_dict()):
        check_optimizer(state, fresh, "optimizer")


def test_a_schedule_takes_its_own_state_and_that_of_a_version_without_some_of_it():
    schedule = LambdaLR(trained(), lambda step: 0.5)
    state = schedule.state_dict()
    check_form(state, schedule.state_dict(), "schedule")
    del state["_step_count"]
    check_form(state, schedule.state_dict(), "schedule", may_lack=True)
    with pytest.raises(DataError, match=r"^schedule/_step_count: expected 1, found nothing$"):
        check_form(state, schedule.state_dict(), "schedule")


def put(*path, value):
    def change(state):
        for name in path[:-1]:
            state = state[name]
        state[path[-1]] = value

    return change


HUGE = torch.zeros(1).expand(10**10)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("state", 0, "exp_avg", value=HUGE), r"state/0/exp_avg: .*a tensor \(3, 2\), found a tensor \(10+,\)"),
        (put("state", 7, value={}), "state/7: expected the state of one of 2 parameters"),
        (put("state", "0", value={}), "state/0: expected the state of one of 2 parameters"),
        (put("state", 0, value=[]), "state/0: expected the state"),
        (put("state", 0, "exp_avg", value=[1]), "state/0/exp_avg: .*found list of 1"),
        (put("state", 0, "exp_avg", value=torch.zeros(3, 2, dtype=torch.complex64)), "state/0/exp_avg"),
        (put("state", value=None), "expected 1 groups"),
        (put("param_groups", value=[]), "expected 1 groups"),
        (put("param_groups", 0, "lr", value="fast"), "param_groups/0/lr: expected 0.001, found 'fast'"),
        (put("param_groups", 0, "lr", value=True), "param_groups/0/lr"),
        (put("param_groups", 0, "params", value=[0]), "expected 2 parameters, found others"),
        (put("param_groups", 0, "step", value=1), "param_groups/0/step: expected nothing, found 1"),
    ],
)  # fmt: skip
def test_the_state_of_another_optimizer_is_refused_by_place(change, said):
    optimizer = trained()
    state = copy.deepcopy(optimizer.state_dict())
    change(state)
    with pytest.raises(DataError, match=f"^optimizer.*{said}"):
        check_optimizer(state, optimizer, "optimizer")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1.5}, {"a": 2}),
        ({"a": None}, {"a": 2.0}),
        ({"a": torch.ones(2)}, {"a": None}),
        ({"a": [1, 2, 3]}, {"a": [4]}),
        ({"a": ["anything"]}, {"a": []}),
        ([math.nan], [0.5]),
    ],
)
def test_values_may_differ(found, wanted):
    check_form(found, wanted, "place")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"a": 1}, {"a": {}}),
        ({"a": "1"}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": {}}, {"a": None}),
        ({"a": ["1"]}, {"a": [4]}),
        ({"a": torch.ones(3)}, {"a": torch.ones(2)}),
        ({}, {"a": 1}),
        (None, {}),
    ],
)
def test_forms_may_not(found, wanted):
    with pytest.raises(DataError, match=r"^place"):
        check_form(found, wanted, "place")


def test_nesting_without_end_is_refused():
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(DataError, match=r"^place/a/a/"):
        check_form(endless, endless, "place")
