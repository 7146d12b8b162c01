import json
from pathlib import Path

import numpy as np
import pytest

from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from training.config import EvaluateConfig
from training.depth_sets.description import describe_set
from training.evaluation import selection
from training.evaluation.evaluate import run as evaluate
from training.evaluation.selection import count_trained, describe_selection
from training.runfolder import METRICS_NAME


@pytest.fixture
def record(tmp_path: Path):
    """A function that writes what a run recorded of its validation set, and returns the run folder."""

    def write(samples: ShardSet, monitor: str | None = "log10", **more: object) -> Path:
        val = {"name": "diode-val", "identity": samples.manifest.identity, "where": samples.where} | more
        content = {"val": val} | ({"monitor": monitor} if monitor else {})
        (tmp_path / METRICS_NAME).write_text(json.dumps(content))
        return tmp_path

    return write


def test_it_names_metric_and_set(record, diode_sets) -> None:
    train, val = diode_sets
    said = "the best checkpoint: the lowest log10 of all epochs on the validation set diode-val"
    assert describe_selection(record(val)) == said
    assert describe_selection(record(val), train) == said
    outdoor = ShardSet(val.url, where="scene_type == 'outdoor'")
    assert describe_selection(record(outdoor)) == f"{said}, where scene_type == 'outdoor'"
    assert "the lowest abs_rel" in describe_selection(record(val, monitor=None))  # of an earlier version


def test_it_says_that_the_numbers_are_optimistic(record, diode_sets) -> None:
    val = diode_sets[1]
    outdoor = ShardSet(val.url, where="scene_type == 'outdoor'")
    very = "; the checkpoint was chosen on this very set, so its numbers are optimistic"
    assert describe_selection(record(val), val).endswith(very)
    assert describe_selection(record(val), outdoor).endswith(very)  # all of its images
    some = f"; the checkpoint was chosen on {len(outdoor)} of these {len(val)} images, so its numbers are optimistic"
    assert describe_selection(record(outdoor), val).endswith(some)


def test_held_out_scenes_are_named_and_are_all_that_counts(record, diode_sets) -> None:
    train = diode_sets[0]
    narrowed = train.narrowed("scene in ('00007', '00012')")
    folder = record(narrowed, holdout=["00007", "00012"], name="diode-train")
    held, rest = (ShardSet(train.url, where=f"{no} scene in ('00007', '00012')") for no in ("", "not"))
    said = "on the held-out scenes 00007, 00012 of the training set diode-train"
    assert describe_selection(folder, rest).endswith(said)
    assert f"{said}; the checkpoint was chosen on this very set" in describe_selection(folder, held)


def test_the_same_views_in_another_set_are_known_by_their_keys(record, diode_sets) -> None:
    """A run chosen on a compact set is judged by others' protocols on an exact one."""
    val = diode_sets[1]
    folder = record(val, identity="0" * 64, path=str(val.url))
    assert "chosen on this very set" in describe_selection(folder, val)
    assert "optimistic" not in describe_selection(record(val, identity="0" * 64, path="gone"), val)


def test_the_set_is_opened_again_through_the_cache(record, diode_sets, monkeypatch, tmp_path: Path) -> None:
    opened = []
    monkeypatch.setattr(selection, "ShardSet", lambda *arguments: opened.append(arguments) or ShardSet(*arguments))
    val = ShardSet(diode_sets[1].url, cache=CacheSettings(folder=str(tmp_path / "cache"), limit_bytes=10**9))
    assert "this very set" in describe_selection(record(val), val)
    assert opened == [(val.address, None, val.cache)]


def test_images_that_were_trained_on_are_counted(diode_sets, tmp_path: Path) -> None:
    train, val = diode_sets
    kept, held = (train.narrowed(f"scene {no} in ('00007',)") for no in ("not", ""))
    assert len(kept) > 0 < len(held)
    (tmp_path / METRICS_NAME).write_text(json.dumps({"train": describe_set(kept)}))
    found = [count_trained(tmp_path, samples) for samples in (kept, train, held, val)]
    assert found == [len(kept), len(kept), 0, 0]
    known = {"identity": "0" * 64}  # of a run that recorded no path, on another set
    (tmp_path / METRICS_NAME).write_text(json.dumps({"train": known}))
    assert count_trained(tmp_path, train) is None
    assert count_trained(tmp_path / "gone", train) is None


def test_a_run_that_does_not_tell_says_so(tmp_path: Path, diode_sets) -> None:
    assert "does not tell" in describe_selection(tmp_path, diode_sets[1])


def test_the_command_takes_the_last_checkpoint_and_says_what_the_best_was_chosen_on(make_run, make_set) -> None:
    ones = np.ones((4, 5))
    train, val = make_set([("00001", 2 * ones, ones)]), make_set([("00002", 4 * ones, ones)], "val")
    folder = make_run("arm", 3.0, train, val)
    options = {"run": str(folder), "set": val.url, "num_workers": 0, "accelerator": "cpu"}
    last, best = evaluate(EvaluateConfig(**options)), evaluate(EvaluateConfig(**options, checkpoint="best"))
    assert (last.data["checkpoint"], last.data["selection"]) == ("last", None)
    assert best.data["selection"].endswith("chosen on this very set, so its numbers are optimistic")
    assert best.data["selection"] in best.text
    assert (last.data["trained_on"], "trained on" in last.text) == (None, False)
    seen = evaluate(EvaluateConfig(**options | {"set": train.url}))
    assert seen.data["trained_on"] == 1
    assert "1 of these 1 images were trained on, so the numbers tell what the network remembers" in seen.text
    assert {Path(one.data["file"]).name for one in (last, best)} == {
        "evaluation-diode-val-last.json",
        "evaluation-diode-val-best.json",
    }
