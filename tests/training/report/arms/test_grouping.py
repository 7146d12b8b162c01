from dataclasses import fields
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharding.errors import DataError, UsageError
from training.report.arms.grouping import group, labels, read_arms
from training.report.arms.identity import NO_FACTOR
from training.report.arms.run import read_run
from training.runfolder import WHERE_IT_RUNS
from training.step_options import ComputationOptions


def names(arms) -> dict[str, list[str]]:
    return {arm.name: [run.name for run in arm.runs] for arm in arms}


def read(*folders, arm=()) -> dict[str, list[str]]:
    return names(read_arms([str(folder) for folder in folders], list(arm)))


def test_seeds_of_one_arm_are_grouped_and_named_by_what_their_names_share(write_run) -> None:
    runs = [write_run(f"{arm}-seed{seed}", seed=seed, learning_rate=rate)
            for seed in range(3) for arm, rate in (("fast", 1e-3), ("slow", 1e-4))]  # fmt: skip
    assert read(*runs) == {
        "fast": ["fast-seed0", "fast-seed1", "fast-seed2"],
        "slow": ["slow-seed0", "slow-seed1", "slow-seed2"],
    }


def test_the_arm_of_one_run_has_its_name(write_run) -> None:
    assert read(write_run("depth-seed7", seed=7), write_run("other", epochs=3)) == {
        "depth-seed7": ["depth-seed7"],
        "other": ["other"],
    }


def test_arms_whose_runs_are_named_by_seed_alone_are_named_by_their_folders(write_run) -> None:
    runs = [write_run(f"{arm}/seed{seed}", seed=seed, loss=loss)
            for arm, loss in (("a", "silog"), ("b", "l1_log")) for seed in (0, 1)]  # fmt: skip
    assert list(read(*runs)) == ["a", "b"]


def test_arms_without_a_common_name_are_named_by_what_differs(write_run) -> None:
    kinds = ("x", 0, "silog"), ("y", 1, "silog"), ("p", 0, "l1_log"), ("q", 1, "l1_log")
    runs = [write_run(name, seed=seed, loss=loss) for name, seed, loss in kinds]
    assert list(read(*runs)) == ["loss silog", "loss l1_log"]


CHANGES = {
    "learning_rate": 1e-5, "batch_size": 7, "epochs": 9, "loss": "l1_log", "augment": "tutorial", "flip": 0.0,
    "scale": 0.5, "height": 96, "width": 128, "where": "scene == '1'", "holdout_scenes": "3", "weight_decay": 0.0,
    "freeze_epochs": 1, "schedule": "one-cycle", "encoder_name": "resnet34", "gradient_weight": 0.5,
    "reader": "webdataset",
}  # fmt: skip
NO_CHANGES = {
    "seed": 5, "num_workers": 9, "devices": "2", "accelerator": "cpu", "precision": "16-mixed", "compile": True,
    "micro_batch": "2", "max_bad": 3, "checkpoint_every": "2h", "cache": "x", "deterministic": True, "fused": True,
    "channels_last": True, "checkpoint_activations": True, "cache_size": 5, "resume": True, "pipe": "cat {url}",
}  # fmt: skip
WORLDS = st.tuples(st.sets(st.sampled_from(sorted(CHANGES)), max_size=2), st.sets(st.sampled_from(sorted(NO_CHANGES))))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORLDS, min_size=1, max_size=5))
def test_runs_are_of_one_arm_exactly_if_what_they_learn_is_the_same(write_run, worlds) -> None:
    folders, kinds = [], []
    for number, (changed, elsewhere) in enumerate(worlds):
        options = {name: CHANGES[name] for name in changed} | {name: NO_CHANGES[name] for name in elsewhere}
        folders.append(write_run(f"{uuid4()}/run-{number}", **options))
        kinds.append(frozenset(changed))
    by_kind: dict[frozenset[str], list[str]] = {}
    for folder, kind in zip(folders, kinds, strict=True):
        by_kind.setdefault(kind, []).append(folder.name)
    found = [[run.name for run in arm.runs] for arm in group([read_run(folder) for folder in folders])]
    assert found == list(by_kind.values())


def test_what_is_no_factor_is_where_a_run_is_computed_and_rounding() -> None:
    assert set(NO_FACTOR) - {"seed", "deterministic", "micro_batch", "allow_overlap", "camera_focal_px"} == {
        *WHERE_IT_RUNS, *(one.name for one in fields(ComputationOptions))
    }  # fmt: skip
    assert set(NO_CHANGES) < {*NO_FACTOR, "cache", "pipe"}


def test_a_default_that_is_written_out_is_no_difference(write_run) -> None:
    views = {"flip": 0.5, "rotation": 15.0, "zoom": "1,1.5", "jitter": "0.2,0.2,0.2"}
    runs = [write_run("r-0"), write_run("r-1", seed=1, loss="silog", **views), write_run("other", flip=0.0)]
    assert read(*runs) == {"r": ["r-0", "r-1"], "other": ["other"]}


def test_sets_count_by_identity_wherever_they_lie(write_run) -> None:
    here, there = write_run("r-0", set="sets/train"), write_run("r-1", set="/data/train", val="/data/val", seed=1)
    other = write_run("other", {"train": {"identity": "d" * 64}})
    assert read(here, there, other) == {"r": ["r-0", "r-1"], "other": ["other"]}


def test_encoders_count_by_the_options_of_their_pretraining(write_run, write_encoder) -> None:
    encoders = [write_encoder(f"e/{kind}-{seed}", augmentation=kind, seed=seed, content=f"{kind}{seed}".encode())
                for kind in ("conservative", "aggressive") for seed in (0, 1)]  # fmt: skip
    runs = [write_run(f"d/{one.name}", encoder=str(one), seed=int(one.name[-1])) for one in encoders]
    assert read(*runs) == {
        "conservative": ["conservative-0", "conservative-1"],
        "aggressive": ["aggressive-0", "aggressive-1"],
    }


def test_the_recorded_pretraining_decides_when_its_folder_is_gone(write_run) -> None:
    def recorded(augmentation: str, seed: int) -> dict:
        config = {"augmentation": augmentation, "method": "dino", "seed": seed, "out": f"runs/{seed}", "devices": "4"}
        return {"pretrain": {"config": config, "sets": [{"identity": "c" * 64, "name": "mega"}]}}

    runs = [write_run(f"{kind}-{seed}", recorded(kind, seed), encoder=f"gone/{seed}", seed=seed)
            for kind in ("a", "b") for seed in (0, 1)]  # fmt: skip
    assert {name: len(found) for name, found in read(*runs).items()} == {"a": 2, "b": 2}


def test_encoders_of_unknown_origin_count_by_content(write_run, tmp_path) -> None:
    for name, content in (("one.pt", b"1"), ("copy.pt", b"1"), ("two.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    runs = [write_run(f"r-{at}", encoder=str(tmp_path / name), seed=at)
            for at, name in enumerate(("one.pt", "copy.pt", "two.pt"))]  # fmt: skip
    assert [len(found) for found in read(*runs).values()] == [2, 1]


def test_arms_are_named_by_hand_beside_those_that_are_grouped(write_run) -> None:
    a, b, c, d = (write_run(f"r-{seed}", seed=seed) for seed in range(4))
    assert read(c, d, arm=[f"first={a},{b}"]) == {"r": ["r-2", "r-3"], "first": ["r-0", "r-1"]}


@pytest.mark.parametrize("arm", ["", "name", "=x", "name=", "name=a,,b", " =a"])
def test_an_arm_that_is_not_written_name_run_run_is_refused(arm: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=RUN,RUN"):
        read_arms([], [arm])


def test_a_run_that_is_given_twice_is_refused(write_run, tmp_path, monkeypatch) -> None:
    run, other = write_run("r"), write_run("s")
    (tmp_path / "link").symlink_to(run)
    given = (
        ([run, run], []),
        ([run, tmp_path / "link"], []),
        ([run], [f"x={run}"]),
        ([], [f"x={run},{run}"]),
        ([], [f"x={run}", f"y={other},{run}"]),
    )
    for folders, arm in given:
        with pytest.raises(UsageError, match=r"given twice: .*/r; a run is one seed of one arm"):
            read(*folders, arm=arm)


def test_one_name_for_two_arms_is_refused(write_run) -> None:
    with pytest.raises(UsageError, match="several arms are called run; name them with --arm"):
        read(write_run("a/run"), write_run("b/run", epochs=3))
    with pytest.raises(UsageError, match="several arms are called x"):
        read(arm=[f"x={write_run('r')}", f"x={write_run('s')}"])
    with pytest.raises(UsageError, match="an arm is called row, which is the name of a baseline"):
        read(write_run("row"))


def test_no_run_and_no_run_folder_are_told(write_run, tmp_path, write_encoder) -> None:
    with pytest.raises(UsageError, match=r"missing: RUN, or --arm"):
        read()
    with pytest.raises(DataError, match="expected a run folder"):
        read(tmp_path / "nowhere")
    folder = write_run("unfinished")
    (folder / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"expected metrics\.json, found none"):
        read(folder)
    with pytest.raises(DataError, match=r"expected metrics\.json, found none"):
        read(write_encoder("pretraining"))


def test_runs_of_one_folder_name_are_told_apart_by_their_paths(write_run) -> None:
    a, b, c = write_run("a/seed0"), write_run("b/seed0", epochs=3), write_run("c")
    arms = read_arms([], [f"x={a}", f"y={b},{c}"])
    assert labels(arms) == {a: str(a), b: str(b), c: "c"}
