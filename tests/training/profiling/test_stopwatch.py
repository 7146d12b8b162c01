import numpy as np
import pytest
import torch

from sharding.format.sample import Sample
from training.profiling.stopwatch import Stopwatch, Timing, count_bytes, join, one_thread, time_once


def test_time_per_sample_is_the_median_of_the_repeats():
    timing = Timing(samples=4, bytes=0, seconds=(9.0, 2.0, 1.0), cpu_seconds=(1.0, 1.0, 1.0))
    assert timing.per_sample_s == 0.5
    assert timing.cpu_share == 0.25
    assert Timing(samples=4, bytes=0, seconds=(1.0,)).cpu_share is None


@pytest.fixture
def clocks(monkeypatch):
    """Wall clock and CPU clock, which stand still unless a test moves them."""
    told = {"wall": 10.0, "cpu": 3.0}
    monkeypatch.setattr("time.perf_counter", lambda: told["wall"])
    monkeypatch.setattr("time.process_time", lambda: told["cpu"])
    return told


def passing(clocks, wall, cpu, result=None):
    """Work that takes so long."""

    def work():
        clocks.update(wall=clocks["wall"] + wall, cpu=clocks["cpu"] + cpu)
        return result

    return work


def test_a_stage_adds_up_over_its_samples(clocks):
    watch = Stopwatch()
    assert watch("fetch", passing(clocks, 1.0, 0.5, [bytes(10), bytes(5)]), 2) == [bytes(10), bytes(5)]
    watch("fetch", passing(clocks, 2.0, 0.25, [bytes(1)]))
    watch("warp", passing(clocks, 4.0, 4.0), made=np.zeros(3, np.float32))
    assert watch.timings() == {
        "fetch": Timing(samples=3, bytes=16, seconds=(3.0,), cpu_seconds=(0.75,)),
        "warp": Timing(samples=1, bytes=12, seconds=(4.0,), cpu_seconds=(4.0,)),
    }


def test_a_stage_within_another_does_not_count_for_that_one(clocks):
    watch = Stopwatch()

    def outer():
        passing(clocks, 1.0, 1.0)()
        for _ in range(2):
            watch("middle", lambda: watch("inner", passing(clocks, 8.0, 2.0)))
        passing(clocks, 0.5, 0.25)()

    watch("outer", outer, 2)
    watch("inner", passing(clocks, 0.25, 0.25))
    found = {stage: (one.seconds, one.cpu_seconds, one.samples) for stage, one in watch.timings().items()}
    assert found == {
        "outer": ((1.5,), (1.25,), 2),
        "middle": ((0.0,), (0.0,), 2),
        "inner": ((16.25,), (4.25,), 3),
    }


def test_repeats_are_joined_stage_by_stage(clocks):
    laps = [Stopwatch(), Stopwatch()]
    for number, lap in enumerate(laps, 1):
        lap("a", passing(clocks, 1.0 * number, 0.5, bytes(4)), 4)
        lap("b", passing(clocks, 10.0 * number, 0.5))
    assert join(laps) == {
        "a": Timing(samples=4, bytes=4, seconds=(1.0, 2.0), cpu_seconds=(0.5, 0.5)),
        "b": Timing(samples=1, bytes=0, seconds=(10.0, 20.0), cpu_seconds=(0.5, 0.5)),
    }


def test_the_cpu_clock_is_read_within_the_wall_clock(monkeypatch):
    asked = []
    monkeypatch.setattr("time.perf_counter", lambda: asked.append("wall") or 0.0)
    monkeypatch.setattr("time.process_time", lambda: asked.append("cpu") or 0.0)
    time_once(lambda: asked.append("work"))
    assert asked == ["wall", "cpu", "work", "cpu", "wall"]


def test_work_takes_what_both_clocks_say(clocks):
    assert time_once(passing(clocks, 2.5, 0.25)) == (2.5, 0.25)


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (memoryview(bytes(7)), 7),
        ({"image": memoryview(bytes(2)), "depth": memoryview(bytes(3))}, 5),
        ([torch.zeros(2, 3), {"key": ["a"], "weight": torch.tensor(1.0)}], 28),
        (Sample(key="a", image=np.zeros((2, 3, 3), np.uint8)), 18),
        (Sample(key="a", image=np.zeros((2, 3, 3), np.uint8), depth=np.zeros((2, 3), np.float32)), 42),
        ("text", 0),
    ],
)
def test_bytes_are_those_of_buffers_arrays_and_tensors(made, size):
    assert count_bytes(made) == size


def test_torch_gets_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
