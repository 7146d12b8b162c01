"""The count of damaged samples of a run; whole runs are in tests/training/launch/test_damaged_runs.py."""

from types import SimpleNamespace

import pytest
import torch

from sharding.errors import DataError
from training.checkpoint.budget import TAG, BadSampleBudget
from training.loading.bad_samples import MARK, BadSample


class Logger:
    def __init__(self):
        self.logged = []

    def log_metrics(self, metrics, step):
        self.logged.append((metrics, step))


def trainer():
    return SimpleNamespace(world_size=1, accumulate_grad_batches=1, loggers=[Logger()], global_step=7, current_epoch=2)


def bad(number):
    return BadSample(number, f"key{number}", f"shard a, key key{number}: damaged")


def start(budget, *numbers):
    """A batch in which these samples are damaged; what is left of it."""
    batch = {"image": torch.zeros(4)} | ({MARK: [bad(number) for number in numbers]} if numbers else {})
    budget.on_train_batch_start(trainer(), None, batch, 0)
    return list(batch)


def test_marks_are_taken_from_the_batch_and_each_sample_counts_and_is_named_once(capsys):
    budget = BadSampleBudget(3)
    assert start(budget) == start(budget, 5, 2, 5) == start(budget, 2) == start(budget, 9) == ["image"]
    assert budget.keys == ["key5", "key2", "key9"]
    said = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert said == [
        f"a damaged sample is left out ({count} of at most 3): shard a, key key{number}: damaged"
        for count, number in ((1, 5), (2, 2), (3, 9))
    ]


def test_one_too_many_ends_the_run_with_all_keys_before_it_is_trained_without():
    budget = BadSampleBudget(2)
    start(budget, 1)
    start(budget, 2)
    with pytest.raises(DataError, match=r"^3 damaged samples, more than --max-bad 2: key1, key2, key3; "):
        start(budget, 3, 3)


def test_of_many_keys_thirty_are_shown():
    with pytest.raises(DataError) as caught:
        start(BadSampleBudget(1), *range(100))
    assert str(caught.value).startswith("100 damaged samples, more than --max-bad 1: key0, key1, ")
    assert ", key29 and 70 more; " in str(caught.value)
    assert "key30" not in str(caught.value)


def test_the_count_of_a_resumed_run_is_that_of_one_that_was_not_stopped():
    first, resumed = BadSampleBudget(3), BadSampleBudget(3)
    start(first, 4, 8)
    resumed.load_state_dict(first.state_dict())
    resumed.on_train_start(trainer(), None)
    for budget in (first, resumed):
        start(budget, 8)
        start(budget, 6)
    assert resumed.keys == first.keys == ["key4", "key8", "key6"]
    assert resumed.state_dict() == first.state_dict() == {"found": [[4, "key4"], [8, "key8"], [6, "key6"]]}


def test_a_smaller_limit_holds_for_what_was_found_before():
    first, resumed = BadSampleBudget(3), BadSampleBudget(1)
    start(first, 4, 8)
    resumed.load_state_dict(first.state_dict())
    with pytest.raises(DataError, match="2 damaged samples, more than --max-bad 1: key4, key8; "):
        resumed.on_train_start(trainer(), None)


@pytest.mark.parametrize("state", [{}, {"found": 3}, {"found": [["a", "b"]]}, {"found": [[1, "b", "c"]]}, [1]])
def test_a_checkpoint_with_something_else_is_refused(state):
    with pytest.raises(DataError, match="the checkpoint: the damaged samples"):
        BadSampleBudget(1).load_state_dict(state)


@pytest.mark.parametrize(("limit", "numbers", "logged"), [(0, (), []), (3, (), [0]), (3, (1, 2), [2])])
def test_the_count_is_logged_at_each_epochs_end_where_it_may_be_above_zero(limit, numbers, logged, capsys):
    budget, ending = BadSampleBudget(limit), trainer()
    start(budget, *numbers)
    budget.on_train_epoch_end(ending, None)
    assert ending.loggers[0].logged == [({TAG: count}, 7) for count in logged]
    assert ("epoch 3: 2 damaged samples so far" in capsys.readouterr().err) is (numbers != ())
