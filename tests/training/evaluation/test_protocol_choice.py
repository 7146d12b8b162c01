from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharding.config import IndexConfig, ShardDiodeConfig
from sharding.errors import UsageError
from sharding.making.create import shard_diode
from sharding.making.index_tars import run as index
from sharding.reading.shard_set import ShardSet
from training.config import EvaluateConfig, FinetuneConfig
from training.evaluation.check import check_evaluate
from training.evaluation.protocol_choice import choose_protocols
from training.metrics.kinds import depth_kind
from training.metrics.protocols import DEVKIT, PROTOCOLS, UP_TO_SCALE
from training.runfolder import save_config

OTHERS = ("devkit", "zoe80garg")


@pytest.fixture(scope="module")
def shard(diode_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ShardSet]:
    """A function that shards the validation split with options."""

    def make(**options: object) -> ShardSet:
        target = tmp_path_factory.mktemp("sets") / "val"
        shard_diode(ShardDiodeConfig(source=str(diode_tree), set=str(target), split="val", workers=1, **options))
        return ShardSet(target)

    return make


@pytest.mark.parametrize("choice", OTHERS)
def test_an_exact_set_of_diode_can_be_judged_as_others_do(diode_sets, choice: str) -> None:
    assert list(choose_protocols(diode_sets[1], choice)) == [choice]


@pytest.mark.parametrize("choice", OTHERS)
def test_a_lossy_set_is_refused_with_the_remedy(shard, choice: str) -> None:
    lossy = shard(preset="compact")
    with pytest.raises(UsageError) as refused:
        choose_protocols(lossy, choice)
    assert str(refused.value) == (
        f"--protocol {choice} counts every pixel whose depth is above 0, whatever the mask says, but {lossy.url} was "
        "made with --preset compact, which stores 0 under the mask; shard DIODE again, at its own size, with --preset "
        "exact"
    )
    assert choose_protocols(lossy, "ours") == PROTOCOLS


def test_a_set_that_was_shrunk_is_refused_and_one_that_was_not_is_taken(shard) -> None:
    for max_side, refused in ((96, True), (97, False)):  # its views are 64 x 96, and may have been larger
        samples = shard()
        samples.manifest = replace(samples.manifest, made=samples.manifest.made | {"max_side": max_side})
        if not refused:
            assert list(choose_protocols(samples, "devkit")) == ["devkit"]
            continue
        with pytest.raises(UsageError, match="was made with --max-side 96, and has but some pixels of its source"):
            choose_protocols(samples, "devkit")


def test_an_index_of_tars_made_elsewhere_is_refused(shard, tmp_path: Path) -> None:
    index(IndexConfig(tars=f"{shard(compression='none').url}/shards", set=str(tmp_path / "indexed")))
    with pytest.raises(UsageError, match=r"was not made by `depthstream shard diode` \(webdataset\)"):
        choose_protocols(ShardSet(tmp_path / "indexed"), "devkit")


def test_depth_up_to_scale_is_judged_by_median_scaled_metrics_alone(megadepth_set, diode_sets) -> None:
    relative = ShardSet(megadepth_set.url, where="kind in ('up_to_scale', 'none')")
    assert depth_kind(relative) == "up_to_scale"
    assert choose_protocols(relative, "ours") == {"median_scaled": UP_TO_SCALE}
    assert choose_protocols(diode_sets[1], "ours", "up_to_scale") == {"median_scaled": PROTOCOLS["median_scaled"]}
    for choice in OTHERS:
        with pytest.raises(
            UsageError, match=f"--protocol {choice} compares metres, but the depth of .* is up to scale"
        ):
            choose_protocols(relative, choice)
        with pytest.raises(UsageError, match="but the depth that the run predicts is up to scale"):
            choose_protocols(diode_sets[1], choice, "up_to_scale")


def test_mixed_kinds_are_refused_with_their_counts_and_a_subset_that_is_not(megadepth_set) -> None:
    counts = megadepth_set.index["kind"].value_counts()
    assert {"ordinal", "up_to_scale"} <= set(counts.index)
    with pytest.raises(UsageError) as refused:
        depth_kind(megadepth_set)
    for kind, count in counts.drop("none", errors="ignore").items():
        assert f"{count} of kind {kind}" in str(refused.value)
    assert "choose the subset of one kind with --where \"kind == 'up_to_scale'\"" in str(refused.value)


def test_views_without_a_valid_pixel_do_not_decide_the_kind(make_set) -> None:
    ones = np.ones((4, 5))
    samples = make_set([("00001", 2 * ones, ones), ("00001", 2 * ones, 0 * ones)])
    assert sorted(samples.index["kind"]) == ["metric", "none"]
    assert depth_kind(samples) == "metric"
    assert choose_protocols(samples, "devkit") == {"devkit": DEVKIT}


def test_the_command_refuses_a_lossy_set_before_it_loads_anything(shard, tmp_path: Path) -> None:
    lossy = shard(preset="compact")
    save_config(tmp_path, FinetuneConfig(set=lossy.url, val=lossy.url, out=str(tmp_path)))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"of no network")
    check_evaluate(EvaluateConfig(run=str(tmp_path), set=lossy.url))
    with pytest.raises(UsageError, match=r"--preset compact, .*; shard DIODE again"):
        check_evaluate(EvaluateConfig(run=str(tmp_path), set=lossy.url, protocol="devkit"))
