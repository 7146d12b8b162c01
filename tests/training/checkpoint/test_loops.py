"""Every place at which a run can be stopped, with a real trainer: it goes on as if it had not been."""

import shutil
from dataclasses import replace

import pytest
import torch

from sharding.errors import DataError
from training.checkpoint.loops import place_loops
from training.checkpoint.state import TrainState

EPOCHS, STEPS = 3, 3  # of `tiny`
LAST_STEPS = [f"step-{1 + count}" for count in range(EPOCHS * STEPS)]
VALIDATIONS = [f"validation-{epoch}" for epoch in range(EPOCHS)]
EPOCH_ENDS = [f"epoch-{epoch}" for epoch in range(1, EPOCHS + 1)]
PLACES = LAST_STEPS + VALIDATIONS + EPOCH_ENDS

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*not resumable")


class Reference:
    """A run that nobody stops, and what would lie on the disk if it were killed at each place."""

    def __init__(self, tiny, folder, cut):
        self.tiny, self.folder, self.cut = tiny, folder, cut
        self.net = tiny.Net(self.keep)
        trainer = tiny.fit(self.net, folder, cut)
        self.copy(f"epoch-{EPOCHS}")
        self.report = tiny.report(self.net, trainer)

    def keep(self, hook, count):
        if hook == "stepped" and (count + 1) % self.cut.accumulation == 0:
            self.copy(f"step-{(count + 1) // self.cut.accumulation}")
        elif hook == "validation" and count % 3 == 1:  # the second of three batches
            self.copy(f"validation-{count // 3}")
        elif hook == "epoch" and count > 0:
            self.copy(f"epoch-{count}")

    def copy(self, name):
        shutil.copy(self.folder / "last.ckpt", self.folder / f"{name}.ckpt")

    def resume(self, place, cut, folder, **options):
        net = self.tiny.Net()
        trainer = self.tiny.fit(net, folder, cut, checkpoint=self.folder / f"{place}.ckpt", **options)
        return self.tiny.report(net, trainer)

    def rest(self, place):
        """What a run that goes on from there has to do."""
        kind, number = place.split("-")
        done = {"step": 1, "epoch": STEPS, "validation": STEPS}[kind] * (int(number) + (kind == "validation"))
        epoch = int(number) if kind == "epoch" else (done - 1) // STEPS
        rows = epoch * (STEPS + 1) + (0 if kind == "epoch" else done - epoch * STEPS)
        return self.report | {
            "trained": self.report["trained"][done * self.cut.accumulation :],
            "validated": self.report["validated"][epoch:],
            "rates": self.report["rates"][done:],
            "rows": self.report["rows"][rows:],
        }


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory):
    """A function that gives the run for `accumulation` and `workers`."""
    made = {}

    def get(accumulation, workers):
        cut = tiny.Cut(accumulation=accumulation, workers=workers)
        if cut not in made:
            made[cut] = Reference(tiny, tmp_path_factory.mktemp("reference"), cut)
        return made[cut]

    return get


def check(reference, place, folder, **options):
    found, expected = reference.resume(place, reference.cut, folder, **options), reference.rest(place)
    for name, value in expected.items():
        assert name == "rows" or found[name] == value, name
    assert [row for _, row in found["rows"]] == [row for _, row in expected["rows"]]
    assert steps_of(found) == steps_of(expected)


def steps_of(report):
    """Those that are logged."""
    return [step for step, _ in report["rows"]]


@pytest.mark.parametrize("place", ["step-3", "validation-1", "step-9"])
def test_logged_step_numbers_go_on_after_a_validation_that_was_pending(reference, tmp_path, place):
    first = reference(1, 0)
    assert steps_of(first.resume(place, first.cut, tmp_path)) == steps_of(first.rest(place))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_that_is_not_stopped_does_all(reference, accumulation):
    whole = reference(accumulation, 0).report
    steps = reference(accumulation, 0).tiny.global_batches(whole["trained"], reference(accumulation, 0).cut)
    assert steps == [[[e, s * 4 + i] for i in range(4)] for e in range(EPOCHS) for s in range(STEPS)]
    assert whole["validated"] == [[0, 3], [1, 6], [2, 9]]
    assert whole["rates"] == pytest.approx([0.05 * (1 - step / 18) for step in range(9)])
    assert steps_of(whole) == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8]
    assert whole["steps"] == 9


@pytest.mark.parametrize("place", PLACES)
def test_a_run_goes_on_from_every_place(reference, tmp_path, place):
    check(reference(2, 0), place, tmp_path)


@pytest.mark.parametrize(
    ("accumulation", "workers", "place"),
    [(1, 0, "step-3"), (1, 0, "epoch-2"), (2, 2, "step-2"), (2, 2, "validation-1")],
)
def test_a_run_goes_on_however_it_is_cut(reference, tmp_path, accumulation, workers, place):
    check(reference(accumulation, workers), place, tmp_path)


@pytest.mark.parametrize("place", ["epoch-1", "epoch-2", "step-4", "step-6"])
def test_a_run_goes_on_whose_length_is_given_in_steps(reference, tmp_path, place):
    """Lightning then takes an epoch that has ended for one that it is in the middle of."""
    check(reference(2, 0), place, tmp_path, max_epochs=-1, max_steps=EPOCHS * STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("accumulation", "workers"), [(1, 0), (1, 2), (2, 2)])
def test_a_run_goes_on_from_every_place_however_it_is_cut(reference, tmp_path, accumulation, workers, place):
    check(reference(accumulation, workers), place, tmp_path)


@pytest.mark.parametrize("place", ["step-3", "epoch-1", "step-5"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_other_micro_batches(reference, tmp_path, before, after, place):
    """Global batches, schedule, step numbers and validations stay; BatchNorm and dropout see other micro-batches."""
    first, cut = reference(before, 0), replace(reference(before, 0).cut, accumulation=after)
    found, expected = first.resume(place, cut, tmp_path), first.rest(place)
    batches = first.tiny.global_batches
    assert batches(found["trained"], cut) == batches(expected["trained"], first.cut)
    for name in ("validated", "rates", "steps"):
        assert found[name] == expected[name], name
    assert steps_of(found) == steps_of(expected)


def test_a_run_without_validation_goes_on_after_the_last_step_of_an_epoch(tiny, tmp_path):
    whole, rest = tiny.Net(), tiny.Net()
    expected = tiny.report(whole, tiny.fit(whole, tmp_path / "whole", limit_val_batches=0))
    with pytest.raises(tiny.Stop):
        tiny.fit(tiny.Net(tiny.stop_at("stepped", STEPS - 1)), tmp_path / "cut", limit_val_batches=0)
    found = tiny.report(rest, tiny.fit(rest, tmp_path / "cut", limit_val_batches=0))
    assert found["trained"] == expected["trained"][STEPS:]
    assert found["weights"] == expected["weights"]
    assert steps_of(found) == steps_of(expected)[STEPS:]


def test_workers_do_not_change_a_run(reference, tmp_path):
    assert reference(2, 0).report == reference(2, 2).report


def state_at(epoch, consumed):
    return TrainState(seed=0, batch_size=4, num_samples=13, epoch=epoch, samples_consumed=consumed)


@pytest.mark.parametrize(
    ("epoch", "consumed", "began", "total", "current", "pending", "stepped"),
    [(0, 4, 1, 2, 2, False, 1), (1, 8, 2, 10, 4, False, 5), (1, 12, 2, 12, 6, True, 5), (2, 0, 2, 12, 0, False, 6)],
)
def test_counters_follow_from_the_state_alone(epoch, consumed, began, total, current, pending, stepped):
    loops = {"epoch_progress": "of another run", "other": 1}
    place_loops(loops, state_at(epoch, consumed), accumulation=2)
    epochs = {"ready": began, "started": began, "processed": epoch, "completed": epoch}
    names = ("ready", "started", "processed", "completed")
    assert loops["epoch_progress"] == {"total": epochs, "current": epochs}
    assert loops["epoch_loop.batch_progress"] == {
        "total": dict.fromkeys(names, total),
        "current": dict.fromkeys(names, current),
        "is_last_batch": pending,
    }
    assert loops["epoch_loop.state_dict"] == {"_batches_that_stepped": stepped}
    assert loops["other"] == 1


def test_the_names_are_those_that_lightning_writes(reference):
    """A counter of another name would be ignored when it is read back."""
    content = torch.load(reference(1, 0).folder / "step-2.ckpt", weights_only=True)
    written, placed = content["loops"]["fit_loop"], {}
    place_loops(placed, state_at(0, 8), accumulation=1)
    for name, counters in placed.items():
        assert written[name].keys() == counters.keys(), name
        for part, counts in counters.items():
            assert isinstance(counts, int) or written[name][part].keys() == counts.keys(), (name, part)


def test_a_checkpoint_of_nothing_that_lightning_knows_is_no_silent_restart(tiny, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises((DataError, KeyError)):
        tiny.fit(tiny.Net(), tmp_path)
