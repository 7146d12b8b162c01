import math
from types import SimpleNamespace

import pytest

from sharding.errors import DataError
from training.checkpoint.budget import BadSampleBudget
from training.finetuning.record import RunRecord, best_row, format_epoch, read_curves, summarize, to_csv


def row(epoch: int, log10: float, abs_rel: float = 0.4) -> dict[str, float]:
    return {
        "epoch": epoch,
        "samples_seen": 40 * (epoch + 1),
        "seconds": 7.5,
        "train_loss": 0.1 / 3,
        "val_loss": 0.5,
        "val_log10": log10,
        "val_abs_rel": abs_rel,
        "val_rmse": 4.0,
        "val_delta1": 0.5,
    }


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.3, 0.2, 0.25], 1), ([0.3, 0.2, 0.2], 1), ([math.nan, 0.4], 1), ([math.nan, math.inf], 0), ([0.1], 0)],
)
def test_the_best_epoch_is_the_first_with_the_least_log10(values, best):
    rows = [row(epoch, value, abs_rel=epoch) for epoch, value in enumerate(values)]
    assert best_row(rows) is rows[best]


def test_an_epoch_that_answers_too_near_is_not_the_best_for_it():
    """abs_rel alone can be lowered so; see `training.metrics.names.METRIC`."""
    rows = [row(0, 0.1, abs_rel=0.40), row(1, 0.2, abs_rel=0.33)]
    assert best_row(rows) is rows[0]


def test_the_progress_bar_tells_the_last_and_the_best_value_and_abs_rel(tmp_path):
    record = RunRecord(tmp_path, 8, {}, BadSampleBudget(0))
    assert record.standing() == ""
    record.load_state_dict({"rows": [row(0, 0.3), row(1, 0.2), row(2, 0.25)], "monitor": "log10"})  # as a resumed run
    assert record.standing() == "log10 0.2500, best 0.2000 (epoch 2), abs_rel 0.4000"
    assert format_epoch(row(1, 0.2), 3) == (
        "epoch 2/3: train loss 0.0333; val log10 0.2000, abs_rel 0.4000, rmse 4.0000, delta1 0.5000; 7.5 s"
    )


def test_a_run_of_an_earlier_version_goes_on_by_its_own_monitor(tmp_path):
    record = RunRecord(tmp_path, 8, {}, BadSampleBudget(0), {"started": "now"})
    record.load_state_dict({"rows": [row(0, 0.1, abs_rel=0.3), row(1, 0.2, abs_rel=0.2)], "about": {}})
    assert record.best["epoch"] == 1
    assert record.standing() == "abs_rel 0.2000, best 0.2000 (epoch 2)"
    again = RunRecord(tmp_path, 8, {}, BadSampleBudget(0))
    again.load_state_dict(record.state_dict())
    assert again.monitor == "abs_rel"
    assert record.seconds == 15.0  # what its rows took


def test_seconds_add_up_over_starts(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("training.finetuning.record.time.monotonic", lambda: clock[0])
    trainer = SimpleNamespace(is_global_zero=True)
    states = []
    for seconds in (10.0, 5.0, 2.5):
        record = RunRecord(tmp_path, 8, {}, BadSampleBudget(0))
        if states:
            record.load_state_dict(states[-1])
        record.on_fit_start(trainer, None)
        clock[0] += seconds
        states.append(record.state_dict())
        clock[0] += 1000  # after the checkpoint: lost
    assert [state["seconds"] for state in states] == [10.0, 15.0, 17.5]


def test_device_seconds_add_up_over_starts_on_other_numbers_of_devices(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("training.finetuning.record.time.monotonic", lambda: clock[0])
    state = {"rows": [], "monitor": "log10", "seconds": 3.0}  # of a version that did not count them
    found = []
    for devices, seconds in ((4, 10.0), (1, 5.0), (2, 2.5)):
        record = RunRecord(tmp_path, 8, {"split": {"world": devices}}, BadSampleBudget(0))
        record.load_state_dict(state)
        record.on_fit_start(SimpleNamespace(is_global_zero=True), None)
        clock[0] += seconds
        state = record.state_dict()
        found.append((state["seconds"], state["device_seconds"]))
    assert found == [(13.0, 52.0), (18.0, 57.0), (20.5, 62.0)]


def test_the_summary_names_metrics_plainly():
    summary = summarize([row(0, 0.2), row(1, 0.3)])
    assert (summary["epochs"], summary["samples_seen"]) == (2, 80)
    assert {"epoch": 1, "samples_seen": 80, "train_loss": 0.1 / 3, "loss": 0.5, "log10": 0.3}.items() <= summary[
        "last"
    ].items()
    assert not any(name.startswith("val_") for name in summary["last"])
    assert summary["best"]["log10"] == 0.2


def test_curves_are_read_back_as_they_were(tmp_path):
    rows = [row(0, 0.2), row(1, 1 / 3)]
    (tmp_path / "curves.csv").write_bytes(to_csv(rows))
    assert read_curves(tmp_path) == rows


def test_a_folder_without_curves_is_no_run(tmp_path):
    with pytest.raises(DataError, match=r"expected curves\.csv, found none"):
        read_curves(tmp_path)
