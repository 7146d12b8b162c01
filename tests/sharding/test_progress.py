from types import SimpleNamespace

import pytest

from sharding.progress import Meter, spoken


def test_the_rate_is_that_of_what_was_done_since_measuring_began(capsys, monkeypatch):
    now = 50.0
    monkeypatch.setattr("sharding.progress.time", SimpleNamespace(monotonic=lambda: now))
    with Meter(1000, 100, "work") as meter:
        assert meter.seconds_left == float("inf")
        meter.advance(300)
        meter.begin_measuring()
        assert meter.bytes_left == 600
        now = 52.0
        meter.advance(200)
        assert (meter.rate, meter.seconds_left) == (100, 4)
        now = 54.0
        assert (meter.rate, meter.seconds_left) == (50, 8)
        meter.advance(400)
        assert meter.seconds_left == 0
    shown = capsys.readouterr().err
    assert "work: 100%" in shown
    assert "1.00k/1.00k" in shown
    assert "B/s" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5300, "88 min"), (5400, "1 h 30 min"), (86400, "24 h 0 min")],
)
def test_durations_are_spoken(seconds, text):
    assert spoken(seconds) == text
