"""Which samples a run is trained on and validated on, and what is refused before anything is written."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import DataError, UsageError
from sharding.options import checked
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.depth_sets.description import describe_subsets
from training.depth_sets.holdout import draw_scenes
from training.depth_sets.subsets import announce_subsets, check_validation, choose_subsets
from training.finetuning.check import check_finetune

DEPTH = np.full((40, 48), 4.0)
SEEN = np.ones_like(DEPTH)


@pytest.fixture
def config(diode_sets, tmp_path) -> FinetuneConfig:
    return FinetuneConfig(
        set=diode_sets[0].url,
        val=diode_sets[1].url,
        out=str(tmp_path / "run"),
        batch_size=8,
        accelerator="cpu",
        devices="1",
    )


def refused(config: FinetuneConfig) -> str:
    """What `finetune` says, before it makes a folder."""
    with pytest.raises((UsageError, DataError)) as caught:
        check_finetune(config)
    assert not Path(config.out).exists()
    return str(caught.value)


def test_two_sets_of_different_scenes_are_taken_whole(config, diode_sets):
    check_finetune(config)
    found = choose_subsets(config)
    assert (found.train.url, found.val.url) == (diode_sets[0].url, diode_sets[1].url)
    assert (len(found.train), len(found.val), found.held_out, found.shared) == (40, 8, (), "")


def test_a_set_is_not_its_own_validation_set(config):
    said = refused(replace(config, val=config.set))
    assert "shares 17 scenes (00000, 00001, 00002, 00003, 00004, ...) and 40 samples (" in said
    assert said.endswith(
        "with the training set, so it would tell what the network remembers; validate on other scenes (--val-where, or "
        "--holdout-scenes), or accept it with --allow-overlap"
    )


def test_overlap_is_accepted_with_a_warning_if_it_is_asked_for(config, capsys):
    wanted = replace(config, val=config.set, allow_overlap=True)
    check_finetune(wanted)
    assert capsys.readouterr().err == ""  # said once, when the sets are opened to train
    announce_subsets(choose_subsets(wanted))
    assert "warning: --allow-overlap: the validation set shares 17 scenes" in capsys.readouterr().err


def test_one_set_may_be_both_by_disjoint_queries(config):
    both = replace(config, val=config.set, where="scene < '00015'", val_where="scene >= '00015'")
    found = choose_subsets(both)
    assert len(found.train) + len(found.val) == 40
    assert "shares 1 scene (00015) with the training set" not in found.shared
    assert "shares 1 scene (00014) and " in refused(replace(both, val_where="scene >= '00014'"))


def test_a_scene_is_shared_whatever_its_samples_are_called(make_set, config):
    train = make_set([("00007", DEPTH, SEEN)] + [("00008", DEPTH, SEEN)] * 8)
    val = make_set([("00009", DEPTH, SEEN), ("00007", DEPTH, SEEN)], "val")
    said = refused(replace(config, set=train.url, val=val.url))
    assert "shares 1 scene (00007) with the training set" in said


def test_a_query_of_the_training_set_alone_is_named_as_the_default_of_the_other(config, diode_sets):
    said = refused(replace(config, where="split == 'train'"))
    assert said == (
        f"--val-where \"split == 'train'\" selects none of 8 samples of {diode_sets[1].url} (the default is that of "
        "--where: give the validation set its own)"
    )
    own = replace(config, where="split == 'train'", val_where="scene != '00022'")
    assert set(choose_subsets(own).val.index["scene"]) == {"00019", "00023", "00024"}
    assert refused(replace(own, val_where="height > 10000")) == (
        f"--val-where 'height > 10000' selects none of 8 samples of {diode_sets[1].url}"
    )
    assert refused(replace(own, where="height > 10000")) == "--where 'height > 10000' selects none of 40 samples"


def test_there_is_something_to_validate_on(config):
    assert refused(replace(config, val=None)) == (
        "expected scenes to validate on, found neither --val nor --holdout-scenes; give --val SET, or take some scenes "
        "out of the training set with --holdout-scenes 3"
    )
    with pytest.raises(UsageError, match="--val-where selects from --val, and there is none"):
        check_validation(replace(config, val=None, holdout_scenes="3", val_where="height > 0"))


@pytest.fixture
def sealed(diode_sets, tmp_path) -> str:
    """A validation set that cannot be opened: its manifest, index and shards are no files but folders."""
    copy = Path(shutil.copytree(diode_sets[1].url, tmp_path / "sealed"))
    for file in [path for path in copy.rglob("*") if path.is_file()]:
        file.unlink()
        file.mkdir()
    with pytest.raises((OSError, DataError, UsageError)):
        ShardSet(copy)
    return str(copy)


def test_held_out_scenes_are_trained_on_by_nothing_and_val_is_not_opened(config, sealed, capsys):
    wanted = replace(config, val=sealed, holdout_scenes="00008,00011", where="scene_type == 'outdoor'")
    check_finetune(wanted)
    found = choose_subsets(wanted)
    assert set(found.val.index["scene"]) == {"00008", "00011"} == set(found.held_out)
    assert not set(found.train.index["scene"]) & {"00008", "00011"}
    assert set(found.train.index["scene_type"]) == set(found.val.index["scene_type"]) == {"outdoor"}
    described = describe_subsets(wanted, found)
    assert described["val_set"] == {"path": sealed, "where": "scene_type == 'outdoor'"}
    for split, samples in (("train", found.train), ("val", found.val)):
        entry = described[split]
        assert (entry["holdout"], entry["samples"], entry["without_depth"]) == (["00008", "00011"], len(samples), 0)
        assert ShardSet(entry["path"], entry["where"]).ids.tolist() == samples.ids.tolist()
    announce_subsets(found)
    assert "validated on: 6 samples of the scenes 00008, 00011" in capsys.readouterr().err


def test_what_is_left_of_a_hold_out_is_at_least_a_batch(config):
    said = refused(replace(config, val=None, holdout_scenes="12", batch_size=32))
    assert "--holdout-scenes 12: " in said
    assert "samples are left to train on, fewer than a global batch of 32; hold fewer scenes out" in said


def test_a_wish_is_refused_with_the_scenes_there_are(config):
    assert "has no scene 00099; it has 00000, " in refused(replace(config, val=None, holdout_scenes="00099"))
    assert "expected at least 1 scene" in refused(replace(config, holdout_scenes="0"))


def test_views_without_a_return_are_left_out_of_both_counted_and_said(make_set, config, capsys):
    """Also where the held-out scenes have them."""
    blind = np.zeros_like(DEPTH)
    views = [(f"{7 + at % 3:05d}", DEPTH, blind if at in (0, 1, 4) else SEEN) for at in range(12)]
    train = make_set(views)
    val = make_set([("00022", DEPTH, SEEN), ("00022", DEPTH, blind)], "val")
    found = choose_subsets(replace(config, set=train.url, val=val.url))
    assert (len(found.train), len(found.val), found.without_depth) == (9, 1, {"train": 3, "val": 1})
    announce_subsets(found)
    said = capsys.readouterr().err
    assert "training set: views without a valid pixel, left out: 3; used: 9" in said
    assert "validation set: views without a valid pixel, left out: 1; used: 1" in said
    assert describe_subsets(config, found)["val"]["without_depth"] == 1
    held = choose_subsets(replace(config, set=train.url, val=None, holdout_scenes="00008", batch_size=2))
    assert (len(held.train), len(held.val), held.without_depth) == (7, 2, {"train": 1, "val": 2})
    alone = make_set([("00007", DEPTH, blind)] + [("00008", DEPTH, SEEN)] * 8)
    said = refused(replace(config, set=alone.url, val=None, holdout_scenes="00007"))
    assert "no view of the held-out scenes 00007 has a valid pixel; hold others out" in said


def test_depth_of_another_kind_is_not_validated_on(config, megadepth_set):
    scaled = replace(config, set=megadepth_set.url, where="kind == 'up_to_scale'")
    assert "expected depth of kind up_to_scale, as in the training set, found metric" in refused(
        replace(scaled, val_where="kind == 'metric'")
    )
    assert choose_subsets(replace(scaled, val=None, holdout_scenes="1")).kind == "up_to_scale"


@pytest.mark.parametrize("seed", range(4))
def test_kinds_are_refused_whichever_scenes_are_drawn(config, megadepth_set, seed):
    """The scenes of one kind may all be held out: both subsets are then of one kind, and the set is not."""
    mixed = replace(config, set=megadepth_set.url, val=None, batch_size=1, seed=seed, holdout_scenes="1")
    said = refused(mixed)
    assert " of kind ordinal, " in said
    assert "with --where \"kind == 'up_to_scale'\"" in said


def test_views_of_which_none_would_be_counted_are_refused_before_an_epoch(make_set, config):
    masks = [np.arange(DEPTH.size).reshape(DEPTH.shape) < pixels for pixels in (9, 10)]
    few, enough = (make_set([("00022", DEPTH, mask.astype(float))] * 2, "val") for mask in masks)
    said = refused(replace(config, val=few.url))
    assert "expected views with at least 10 valid pixels to validate on, found at most 9" in said
    assert len(choose_subsets(replace(config, val=enough.url)).val) == 2


def test_views_whose_depth_is_out_of_the_range_that_counts_are_refused_before_an_epoch(make_set, config):
    whole = np.ones(DEPTH.shape)
    beyond = make_set([("00022", np.full(DEPTH.shape, 380.0), whole)] * 2, "val")
    assert "expected views with depth from 0.6 to 350 m to validate on, found 380 to 380 m" in refused(
        replace(config, val=beyond.url)
    )
    within = make_set(
        [("00022", np.full(DEPTH.shape, 350.0), whole), ("00022", np.full(DEPTH.shape, 0.5), whole)], "val"
    )
    assert len(choose_subsets(replace(config, val=within.url)).val) == 2


def test_a_blank_val_where_takes_all_of_the_validation_set(config, diode_sets):
    part = replace(config, where="scene_type == 'outdoor' and scene < '00019'")
    assert "--val-where" in refused(part)
    found = choose_subsets(checked(replace(part, val_where="")))
    assert (len(found.val), found.val.where) == (len(diode_sets[1]), None)


def test_scenes_are_drawn_among_those_with_a_valid_pixel(make_set, config):
    """Whichever the seed would draw first, of which the only view here is blind."""
    names = [f"{at:05d}" for at in range(6)]
    (first,) = draw_scenes(names, 1, config.seed)
    views = [(name, DEPTH, np.zeros_like(DEPTH) if name == first else SEEN) for name in names]
    found = choose_subsets(replace(config, set=make_set(views).url, val=None, holdout_scenes="1", batch_size=2))
    assert found.held_out == draw_scenes([name for name in names if name != first], 1, config.seed)
    assert (len(found.val), found.without_depth) == (1, {"train": 1, "val": 0})
