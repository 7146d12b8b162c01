import time

import pytest

from training.loading import view_batch
from training.profiling import loaders
from training.profiling.loaders import TurnSampler, time_loaders
from training.profiling.work import Turn


def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_a_turn_takes_the_first_positions_of_each_epoch():
    sampler = TurnSampler(Turn(batch_size=2, batches=2, epochs=3))
    assert list(sampler) == [(epoch, place) for epoch in range(3) for place in range(4)]
    assert len(sampler) == 12


@pytest.mark.parametrize("kind", ["paired", "images"])
def test_both_loaders_give_every_sample_and_its_bytes(kind, diode_sets, image_set, plan):
    work = plan(diode_sets[1] if kind == "paired" else image_set, 3, batch_size=2)
    times = time_loaders(work, repeats=2, num_workers=1)
    turn = work.turn(1)
    assert times.alone.samples == 3
    assert times.alone.bytes == work.stored_bytes > 0
    assert times.workers.samples == times.consumer.samples == turn.epochs * turn.batches * 2 == 8
    assert times.workers.bytes == work.turn_bytes(turn)
    pixels = work.view.height * work.view.width
    assert times.consumer.bytes == 8 * (8 * pixels + 12 + 4 if kind == "paired" else 3 * pixels)
    for timing in (times.alone, times.workers, times.consumer):
        assert len(timing.seconds) == 2
        assert min(timing.seconds) > 0
        assert timing.cpu_share is None


def test_the_consumer_is_this_process_and_not_its_workers(diode_sets, plan, monkeypatch):
    look, blank = loaders._look_at, view_batch.ViewBatch._layout

    def slow_worker(self):
        burn(0.05)
        return blank(self)

    def slow_look(tensor):
        burn(0.002)
        return look(tensor)

    monkeypatch.setattr(view_batch.ViewBatch, "_layout", slow_worker)  # for each batch, in the forked workers too
    monkeypatch.setattr(loaders, "_look_at", slow_look)  # for each of 5 tensors of a batch
    times = time_loaders(plan(diode_sets[1], 4, batch_size=4), repeats=1, num_workers=1)
    assert times.workers.samples == 16  # 4 batches
    assert 4 * 5 * 0.002 <= times.consumer.seconds[0] < 4 * 0.05
