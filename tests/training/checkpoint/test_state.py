import pytest

from sharding.errors import DataError, UsageError
from training.checkpoint.state import TrainState


def at(epoch, consumed, **other):
    return TrainState(
        **({"seed": 5, "batch_size": 4, "num_samples": 11} | other), epoch=epoch, samples_consumed=consumed
    )


def test_an_epoch_has_whole_steps_only():
    assert (at(0, 0).steps_an_epoch, at(0, 0).samples_an_epoch) == (2, 8)
    assert (at(0, 0, num_samples=12).steps_an_epoch, at(0, 0, num_samples=12).samples_an_epoch) == (3, 12)


def test_a_run_goes_through_steps_and_epochs():
    state, seen = at(0, 0), []
    for _ in range(2):
        for _ in range(2):
            state = state.after_step()
            seen.append((state.epoch, state.samples_consumed, state.steps))
        state = state.after_epoch()
        seen.append((state.epoch, state.samples_consumed, state.steps))
    assert seen == [(0, 4, 1), (0, 8, 2), (1, 0, 2), (1, 4, 3), (1, 8, 4), (2, 0, 4)]
    assert state == at(2, 0)


def test_a_state_survives_a_round_trip_as_plain_numbers():
    content = at(3, 4).to_dict()
    assert content == {"seed": 5, "batch_size": 4, "num_samples": 11, "epoch": 3, "samples_consumed": 4}
    assert TrainState.from_dict(content) == at(3, 4)


@pytest.mark.parametrize("content", [{}, {"seed": 1}, at(0, 0).to_dict() | {"more": 1}, [], {1: 2}, None, "text"])
def test_other_content_is_refused(content):
    with pytest.raises(DataError, match=r"^expected the state of a training run, with seed, .*, found another$"):
        TrainState.from_dict(content)


def test_a_trained_epoch_is_a_state():
    assert TrainState.from_dict(at(3, 8).to_dict()) == at(3, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -1),
        ("epoch", 2**70),
        ("epoch", 1.0),
        ("seed", True),
        ("seed", None),
        ("batch_size", 0),
        ("num_samples", 3),
        ("samples_consumed", 12),
        ("samples_consumed", 3),
    ],
)
def test_impossible_numbers_are_refused(name, value):
    content = at(3, 4).to_dict() | {name: value}
    with pytest.raises(DataError, match="the state of a training run"):
        TrainState.from_dict(content)


def test_the_place_may_differ_within_a_run():
    at(0, 0).check_same_run(at(7, 8))


@pytest.mark.parametrize(
    ("name", "text", "before"),
    [("num_samples", "samples", 11), ("seed", "seed", 5), ("batch_size", "global batch size", 4)],
)
def test_another_run_is_refused_with_both_values(name, text, before):
    with pytest.raises(UsageError, match=f"^the checkpoint was made with {text} {before}, this run has 2: repeat"):
        at(0, 0).check_same_run(at(0, 0, **{name: 2}))


def test_a_state_reads_like_a_sentence():
    big = {"batch_size": 1000, "num_samples": 12_345}
    assert str(at(0, 0)) == "epoch 1, 0 of 8 samples, step 0"
    assert str(at(1, 8)) == "epoch 2, 8 of 8 samples, step 4"
    assert str(at(2, 0)) == "end of epoch 2, step 4"
    assert str(at(100, 3000, **big)) == "epoch 101, 3,000 of 12,000 samples, step 1,203"
