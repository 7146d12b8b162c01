"""What a comparison says of images that its runs had seen."""

from pathlib import Path

import pytest

from sharding.reading.shard_set import ShardSet
from training.report.arms.grouping import Arm, read_arms
from training.report.measuring import group_trained
from training.report.seen import describe_monitored, find_seen


def arms_of(*folders: Path) -> tuple[Arm, ...]:
    return read_arms([], [f"arm={','.join(map(str, folders))}"])


def warnings_of(val: ShardSet, *folders: Path) -> list[str]:
    arms = arms_of(*folders)
    return list(find_seen(arms, group_trained(arms, val=val), val))


def facts(train: ShardSet, val: ShardSet, **more) -> dict:
    return {
        name: {"identity": one.manifest.identity, "name": one.manifest.name, "where": one.where}
        for name, one in (("train", train), ("val", val))
    } | more


def test_runs_that_were_trained_on_the_images_are_named_also_where_their_set_was_moved(write_run, sets) -> None:
    train, val = sets
    a = write_run("a", facts(train, val), set="moved/since", val=val.url)
    (said, elsewhere) = warnings_of(train, a)
    assert said.startswith("a: trained on 1 scene (00001) and 1 sample (00001_")
    identity = train.manifest.identity[:12]
    assert elsewhere == f"a: validated on another set than {train.manifest.name} ({identity}) while training."
    assert warnings_of(val, write_run("b", facts(train, val), set=train.url, val=val.url)) == []


def test_a_training_set_that_is_not_found_may_have_been_the_same_scenes(write_run, sets) -> None:
    train, val = sets
    run = write_run("a", facts(train, val), set="gone", val=val.url)
    assert warnings_of(val, run) == [
        "a: the training set was not found, so nothing tells whether it shares scenes with the set that is compared on."
    ]


def test_only_runs_that_were_validated_elsewhere_are_said_to_be(write_run, sets) -> None:
    train, val = sets
    options = {"set": train.url}
    same = write_run("same", facts(train, val), val=val.url, **options)
    other = write_run("other", facts(train, train), val=train.url, **options)
    held = write_run("held", facts(train, train), val=None, holdout_scenes="1", **options)
    untouched = write_run("untouched", facts(train, train, val_set={"path": val.url}), holdout_scenes="1", **options)
    (said,) = warnings_of(val, same, other, held, untouched)
    assert said.startswith("other: validated on another set than ")


@pytest.mark.parametrize("scene", ["00007", "00008"])
def test_images_that_runs_were_validated_on_are_counted(write_run, sets, scene) -> None:
    train, val = sets
    part = val.narrowed(f"scene == '{scene}'")
    whole = write_run("whole", facts(train, val))
    some = [write_run(f"some-{at}", facts(train, part)) for at in (0, 1)]
    none = write_run("none", facts(train, train))
    assert describe_monitored(arms_of(whole, *some, none), val).startswith(
        "Validated while training: whole on 2 of these 2 images; some-0, some-1 on 1 of these 2 images; options that "
    )
    other = val.narrowed(f"scene != '{scene}'")
    assert describe_monitored(arms_of(*some, none), other) == ""
