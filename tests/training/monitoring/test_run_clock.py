from types import SimpleNamespace

import pytest

from training.monitoring.run_clock import RunClock


@pytest.fixture
def time():
    return SimpleNamespace(at=1000.0)


@pytest.fixture
def clock(time):
    return RunClock(lambda: time.at)


def work(clock, time, seconds, *, is_last=False, wait=0.0):
    """A batch for which the loader waits first."""
    time.at += wait
    clock.begin_batch()
    time.at += seconds
    clock.end_batch(is_last=is_last)


def test_nothing_is_said_before_a_batch_was_measured_and_the_first_is_none(clock, time):
    assert clock.describe(100, 10) == ""
    work(clock, time, 500.0)  # starts workers, compiles
    assert clock.describe(100, 10) == ""
    work(clock, time, 2.0)
    assert clock.describe(30, 10) == "run: at least 60 s left"


def test_batches_are_measured_with_the_waits_between_them(clock, time):
    work(clock, time, 500.0)
    for seconds in (1.0, 2.0, 3.0):
        work(clock, time, seconds, wait=4.0)
    assert clock.describe(1000, 5) == "run: at least 1 h 40 min left"  # 6 s each


def test_validation_counts_once_an_epoch_has_ended(clock, time):
    work(clock, time, 9.0)
    work(clock, time, 2.0, is_last=True)
    assert clock.describe(20, 3) == "run: at least 40 s left"
    time.at += 600.0  # validation, checkpoint
    work(clock, time, 2.0)
    assert clock.describe(20, 3) == "run: 31 min left"  # 20 batches of 2 s, 3 turns of 600 s
    assert clock.describe(0, 1) == "run: 10 min left"  # the last validation
    assert clock.describe(0, 0) == "run: 0 s left"


def test_turns_and_batches_are_means_of_all_that_were_seen(clock, time):
    for turn in (100.0, 300.0):
        work(clock, time, 1.0)
        work(clock, time, 1.0, is_last=True)
        time.at += turn
    work(clock, time, 3.0)
    # The first batch counts for nothing; the others took 1, 1, 1 and 3 s.
    assert clock.describe(100, 2) == "run: 9 min left"  # 100 * 1.5 + 2 * 200 = 550 s


def test_epochs_of_one_batch_are_measured_too(clock, time):
    for _ in range(3):
        work(clock, time, 5.0, is_last=True)
        time.at += 10.0
    assert clock.describe(4, 4) == "run: 60 s left"
