"""Saving and stopping: real signals to a process that trains, in all places; and to one of two."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sharding.errors import DataError, Interrupted
from training.checkpoint import keeper
from training.checkpoint.counter import saved_state
from training.checkpoint.newest import find_damage
from training.checkpoint.state import TrainState

ROOT, LIMIT_S = Path(__file__).parents[3], 150
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*not resumable")


def at(epoch, consumed):
    return TrainState(seed=0, batch_size=4, num_samples=13, epoch=epoch, samples_consumed=consumed)


def state_of(path):
    assert find_damage(path) is None
    return saved_state(torch.load(path, weights_only=True))


@pytest.fixture
def saves(monkeypatch):
    """The states that were saved, and the micro-batch of each."""
    found, real = [], keeper.CheckpointKeeper.save

    def save(self, trainer):
        real(self, trainer)
        found.append((self._counter.state, trainer.fit_loop.batch_idx))

    monkeypatch.setattr(keeper.CheckpointKeeper, "save", save)
    return found


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A function that gives what a run does that nobody stops."""
    made = {}

    def get(accumulation):
        if accumulation not in made:
            net, folder = tiny.Net(), tmp_path_factory.mktemp("whole")
            trainer = tiny.fit(net, folder, tiny.Cut(accumulation=accumulation, cadence="epoch"))
            made[accumulation] = tiny.report(net, trainer)
        return made[accumulation]

    return get


@pytest.mark.parametrize(
    ("accumulation", "cadence", "places"),
    [
        (1, "epoch", [(1, 0), (2, 0), (3, 0)]),
        (1, "1steps", [(e, c) for e in range(3) for c in (4, 8, 12)] + [(1, 0), (2, 0), (3, 0)]),
        (2, "1steps", [(e, c) for e in range(3) for c in (4, 8, 12)] + [(1, 0), (2, 0), (3, 0)]),
        (2, "2steps", [(0, 8), (1, 0), (1, 8), (2, 0), (2, 8), (3, 0)]),
        (2, "4steps", [(1, 0), (2, 0), (3, 0)]),  # counted from the one before, the end of an epoch
    ],
)
def test_steps_say_how_often_and_each_epochs_end_is_saved(tiny, tmp_path, saves, accumulation, cadence, places):
    tiny.fit(tiny.Net(), tmp_path, tiny.Cut(accumulation=accumulation, cadence=cadence))
    assert [state for state, _ in saves] == [at(*place) for place in sorted(places)]
    assert all((batch + 1) % accumulation == 0 for _, batch in saves)


@pytest.mark.parametrize("accumulation", [2])
def test_time_says_how_often(tiny, tmp_path, saves, monkeypatch, accumulation):
    """A clock that goes on by 10 s whenever it is read: once a step, and twice as something is saved."""
    clock = itertools.count(0, 10)
    monkeypatch.setattr(keeper, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    tiny.fit(tiny.Net(), tmp_path, tiny.Cut(accumulation=accumulation, cadence="20s"))
    assert [state for state, _ in saves] == [at(*place) for e in range(3) for place in ((e, 8), (e + 1, 0))]
    assert all((batch + 1) % accumulation == 0 for _, batch in saves)


def test_the_last_two_are_whole_and_one_save_apart(tiny, tmp_path):
    last, previous, seen = tmp_path / "last.ckpt", tmp_path / "last-1.ckpt", []

    def look(hook, count):
        if hook == "stepped":
            seen.append([state_of(path).steps for path in (previous, last) if path.is_file()])

    tiny.fit(tiny.Net(look), tmp_path)
    # What lies there after each step; the end of an epoch is saved once more.
    assert seen == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8], [8, 9]]
    assert [state_of(path) for path in (previous, last)] == [at(2, 12), at(3, 0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-1.ckpt", "last.ckpt"]


def test_each_save_says_what_it_cost(tiny, tmp_path, capsys):
    tiny.fit(tiny.Net(), tmp_path, tiny.Cut(cadence="2steps"))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("saved")]
    assert len(lines) == 6
    cost = r"; \d+\.\d MB in \d+\.\d s"
    assert re.fullmatch(re.escape(f"saved {tmp_path}/last.ckpt: epoch 1, 8 of 12 samples, step 2") + cost, lines[0])
    assert re.fullmatch(re.escape(f"saved {tmp_path}/last.ckpt: end of epoch 1, step 3") + cost, lines[1])


@pytest.mark.parametrize(
    ("hook", "count", "accumulation", "state"),
    [
        ("step", 0, 1, (0, 4)),
        ("step", 0, 2, (0, 4)),  # within an accumulation
        ("step", 9, 2, (1, 8)),
        ("stepped", 1, 1, (0, 12)),  # after the step was counted: the next one
        ("step", 11, 2, (1, 12)),  # the last step of an epoch: its validation is pending
        ("validation", 0, 1, (0, 12)),
        ("validation", 4, 2, (1, 12)),  # the second of three batches
        ("validation", 8, 1, (2, 12)),  # the last batch of all
        ("epoch", 1, 1, (1, 4)),
    ],
)
def test_a_signal_stops_at_a_step_and_the_run_goes_on_from_it(
    tiny, whole, tmp_path, capfd, hook, count, accumulation, state
):
    cut, number = tiny.Cut(accumulation=accumulation, cadence="epoch"), SIGNALS[(count + accumulation) % 3]
    before = [signal.getsignal(one) for one in SIGNALS]
    net = tiny.Net(tiny.signal_at(hook, count, number))
    with pytest.raises(Interrupted) as caught:
        tiny.fit(net, tmp_path, cut)
    assert caught.value.signal_number == number
    assert str(caught.value) == f"stopped at {at(*state)}, saved; run the same command with --resume"
    assert f"{number.name}: saving after this step" in capfd.readouterr().err
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert state_of(tmp_path / "last.ckpt") == at(*state)
    assert len(net.trained) == at(*state).steps * accumulation
    rest = tiny.Net()
    found, expected = tiny.report(rest, tiny.fit(rest, tmp_path, cut)), whole(accumulation)
    assert net.trained + found["trained"] == expected["trained"]
    assert net.rates + found["rates"] == expected["rates"]
    # One that was cut short is done again.
    assert net.validated + found["validated"] == expected["validated"]
    for name in ("weights", "optimizer", "steps"):
        assert found[name] == expected[name], name


def test_the_signals_are_ours_from_the_first_moment_of_fit_on(tiny, tmp_path):
    """Lightning would take SIGTERM before training begins, and start a collective in its handler."""
    seen = []

    class Watching(tiny.Net):
        def on_fit_start(self):
            seen.append({signal.getsignal(one).__self__.__class__.__name__ for one in SIGNALS})

        def on_train_start(self):
            self.on_fit_start()

    tiny.fit(Watching(), tmp_path)
    assert seen == [{"StopSignals"}] * 2


def test_a_signal_before_the_first_step_ends_it_without_a_checkpoint(tiny, tmp_path):
    class Early(tiny.Net):
        def validation_step(self, batch, index):
            if self.trainer.sanity_checking:
                os.kill(os.getpid(), signal.SIGTERM)
            super().validation_step(batch, index)

    net = Early()
    with pytest.raises(Interrupted, match=r"^stopped before the first step; run the same command again") as caught:
        tiny.fit(net, tmp_path)
    assert (caught.value.signal_number, net.trained, list(tmp_path.iterdir())) == (signal.SIGTERM, [], [])


def test_a_second_ctrl_c_stops_within_the_step(tiny, tmp_path):
    def hit(hook, count):
        if (hook, count) == ("step", 5):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"^stopped; run the same command"):
        tiny.fit(tiny.Net(hit), tmp_path)
    assert state_of(tmp_path / "last.ckpt") == at(1, 8)


def test_a_model_that_is_not_worth_saving_leaves_both_checkpoints(tiny, tmp_path):
    class Spoiled(tiny.Net):
        def require_finite(self):
            if self.global_step == 3:
                raise DataError("not finite")

    with pytest.raises(DataError, match="not finite"):
        tiny.fit(Spoiled(), tmp_path, tiny.Cut(cadence="1steps"))
    assert [state_of(tmp_path / name) for name in ("last-1.ckpt", "last.ckpt")] == [at(0, 4), at(0, 8)]


def test_validation_outside_of_training_is_not_the_keepers(tiny, tmp_path):
    net = tiny.Net()
    trainer = tiny.fit(net, tmp_path, tiny.Cut(cadence="epoch"))
    times = (tmp_path / "last.ckpt").stat().st_mtime_ns
    loader = tiny.make_loaders(tiny.Cut(), trainer.train_dataloader.sampler)[1]
    assert len(trainer.validate(net, loader, verbose=False)) == 1
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == times


def test_a_crash_keeps_what_was_saved_before_it(tiny, whole, tmp_path):
    with pytest.raises(tiny.Stop):
        tiny.fit(tiny.Net(tiny.stop_at("step", 7)), tmp_path, tiny.Cut(cadence="2steps"))
    assert state_of(tmp_path / "last.ckpt") == at(2, 0)
    with pytest.raises(tiny.Stop):
        tiny.fit(tiny.Net(tiny.stop_at("step", 2)), tmp_path, tiny.Cut(cadence="2steps"))
    assert [state_of(tmp_path / name) for name in ("last-1.ckpt", "last.ckpt")] == [at(2, 0), at(2, 8)]
    net = tiny.Net()
    assert tiny.report(net, tiny.fit(net, tmp_path))["weights"] == whole(1)["weights"]


@pytest.fixture(scope="module")
def ranks(tiny, tmp_path_factory):
    """What two ranks did that `torchrun` started."""
    out = tmp_path_factory.mktemp("ranks")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SLURM"))}
    ours = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with (out / "log").open("w+") as log:
        job = subprocess.Popen(
            [*launcher, tiny.__file__, str(out)], env=inherited | ours, stdout=log, stderr=log, start_new_session=True
        )
        try:
            assert job.wait(LIMIT_S) == 0, (out / "log").read_text()
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_at_the_same_step(ranks):
    out, found = ranks
    for name in ("stopped", "saved"):
        assert [rank[name]["steps"] for rank in found] == [5, 5]
        assert [len(rank[name]["trained"]) for rank in found] == [5, 5]
    assert [state_of(out / "saved" / name) for name in ("last-1.ckpt", "last.ckpt")] == [at(1, 4), at(1, 8)]
    assert state_of(out / "stopped" / "last.ckpt") == at(3, 0)
    assert state_of(out / "stopped" / "last-1.ckpt") == at(2, 0)
    text = (out / "log").read_text()
    assert len(re.findall(r"stopped/last.ckpt: epoch 2, 8 of 12 samples, step 5;", text)) == 1


@pytest.mark.slow
def test_ranks_that_find_different_checkpoints_end_at_once(ranks):
    for rank in ranks[1]:
        assert "different checkpoints: from epoch 0, sample 0 to epoch 3, sample 0" in rank["apart"]
        assert "the run folder must be one that all nodes share" in rank["apart"]


@pytest.mark.slow
def test_two_ranks_go_on_as_if_they_had_not_been_stopped(ranks):
    for rank in ranks[1]:
        whole, stopped, resumed = rank["whole"], rank["stopped"], rank["resumed"]
        assert stopped["trained"] + resumed["trained"] == whole["trained"]
        for name in ("weights", "optimizer", "steps"):
            assert resumed[name] == whole[name], name
        assert resumed["validated"] == whole["validated"][1:]
        assert resumed["rates"] == whole["rates"][5:]


@pytest.mark.slow
def test_two_ranks_take_the_halves_of_each_batch(ranks):
    first, second = (rank["whole"]["trained"] for rank in ranks[1])
    steps = [left + right for left, right in zip(first, second, strict=True)]
    assert steps == [[[e, s * 4 + i] for i in range(4)] for e in range(3) for s in range(3)]
