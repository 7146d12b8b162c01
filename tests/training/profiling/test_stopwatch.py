import numpy as np
import pytest
import torch

from sharding.format.sample import Sample
from training.profiling.stopwatch import Stopwatch, Timing, count_bytes, one_thread, time_once


def test_time_per_sample_is_the_median_of_the_repeats():
    timing = Timing(samples=4, bytes=0, seconds=(9.0, 2.0, 1.0), cpu_seconds=(1.0, 1.0, 1.0))
    assert timing.per_sample_s == 0.5
    assert timing.cpu_share == 0.25
    assert Timing(samples=4, bytes=0, seconds=(1.0,)).cpu_share is None


def test_work_is_done_once_untimed_and_then_for_each_repeat():
    watch, done = Stopwatch(3), []

    def work():
        done.append(len(done))
        return [bytes(10), bytes(5)]

    assert watch("fetch", work) == [bytes(10), bytes(5)]
    assert done == [0, 1, 2, 3]
    timing = watch.timings()["fetch"]
    assert len(timing.seconds) == len(timing.cpu_seconds) == 3
    assert (timing.samples, timing.bytes) == (2, 15)


def test_batches_add_up_repeat_by_repeat(monkeypatch):
    taken = iter([(1.0, 0.5), (2.0, 0.5), (10.0, 0.5), (20.0, 0.5)])
    monkeypatch.setattr("training.profiling.stopwatch.time_once", lambda work: next(taken))
    watch = Stopwatch(2)
    watch("collate", lambda: {"image": torch.zeros(3, dtype=torch.uint8), "key": ["a", "b", "c"]})
    watch("collate", lambda: {"image": torch.zeros(1, dtype=torch.uint8), "key": ["d"]})
    expected = Timing(samples=4, bytes=4, seconds=(11.0, 22.0), cpu_seconds=(1.0, 1.0))
    assert watch.timings() == {"collate": expected}


def test_both_clocks_are_read_before_and_after_the_work(monkeypatch):
    clocks = {"wall": 10.0, "cpu": 3.0}
    monkeypatch.setattr("time.perf_counter", lambda: clocks["wall"])
    monkeypatch.setattr("time.process_time", lambda: clocks["cpu"])
    assert time_once(lambda: clocks.update(wall=12.5, cpu=3.25)) == (2.5, 0.25)


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
