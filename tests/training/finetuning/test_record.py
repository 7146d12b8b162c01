import math

import pytest

from sharding.errors import DataError
from training.checkpoint.budget import BadSampleBudget
from training.finetuning.record import RunRecord, best_row, read_curves, summarize, to_csv


def row(epoch: int, abs_rel: float) -> dict[str, float]:
    return {
        "epoch": epoch,
        "samples_seen": 40 * (epoch + 1),
        "train_loss": 0.1 / 3,
        "val_loss": 0.5,
        "val_abs_rel": abs_rel,
    }


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.3, 0.2, 0.25], 1), ([0.3, 0.2, 0.2], 1), ([math.nan, 0.4], 1), ([math.nan, math.inf], 0), ([0.1], 0)],
)
def test_the_best_epoch_is_the_first_with_the_least_abs_rel(values, best):
    rows = [row(epoch, value) for epoch, value in enumerate(values)]
    assert best_row(rows) is rows[best]


def test_the_progress_bar_tells_the_last_and_the_best_value(tmp_path):
    record = RunRecord(tmp_path, 8, {}, BadSampleBudget(0))
    assert record.standing() == ""
    record.load_state_dict({"rows": [row(0, 0.3), row(1, 0.2), row(2, 0.25)]})  # as a resumed run does
    assert record.standing() == "abs_rel 0.2500, best 0.2000 (epoch 2)"


def test_the_summary_names_metrics_plainly():
    summary = summarize([row(0, 0.2), row(1, 0.3)])
    assert (summary["epochs"], summary["samples_seen"]) == (2, 80)
    assert summary["last"] == {"epoch": 1, "samples_seen": 80, "train_loss": 0.1 / 3, "loss": 0.5, "abs_rel": 0.3}
    assert summary["best"]["abs_rel"] == 0.2


def test_curves_are_read_back_as_they_were(tmp_path):
    rows = [row(0, 0.2), row(1, 1 / 3)]
    (tmp_path / "curves.csv").write_bytes(to_csv(rows))
    assert read_curves(tmp_path) == rows


def test_a_folder_without_curves_is_no_run(tmp_path):
    with pytest.raises(DataError, match=r"expected curves\.csv, found none"):
        read_curves(tmp_path)
