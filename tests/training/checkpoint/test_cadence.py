import pytest

from sharding.errors import UsageError
from training.checkpoint.cadence import Cadence


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("15min", None, 900),
        ("15 min", None, 900),
        ("2h", None, 7200),
        ("1.5h", None, 5400),
        ("90s", None, 90),
        ("0.5s", None, 0.5),
        ("500steps", 500, None),
        ("1 steps", 1, None),
        ("epoch", None, None),
    ],
)
def test_times_and_steps_are_read(text, steps, seconds):
    assert Cadence.parse(text) == Cadence(steps=steps, seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "min", "15m", "-5min", "0s", "0steps", "0.0h", "1.5steps", "1e3s", "epochs", "5steps ", "1,5h"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError) as caught:
        Cadence.parse(text)
    assert str(caught.value) == f"--checkpoint-every {text}: expected a time such as 15min, 500steps, or epoch"


@pytest.mark.parametrize(
    ("text", "steps", "seconds", "due"),
    [
        ("3steps", 2, 1e9, False),
        ("3steps", 3, 0, True),
        ("3steps", 4, 0, True),
        ("2min", 10**9, 119.9, False),
        ("2min", 0, 120, True),
        ("epoch", 10**9, 1e9, False),
    ],
)
def test_it_is_due_when_the_limit_is_reached(text, steps, seconds, due):
    assert Cadence.parse(text).due(steps, seconds) is due
