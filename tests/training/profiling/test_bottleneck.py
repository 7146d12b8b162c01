from dataclasses import replace
from types import SimpleNamespace

import pytest

from sharding.stores.node_cache import CacheSettings
from training.profiling.bottleneck import (
    Setting,
    helps_fetch,
    judge,
    judge_stages,
    shares_that_count,
    stays_cached,
    worker_ms,
)
from training.profiling.stages import STAGES

EXACT, COMPACT = {"rows.npy", "planes.npy"}, {"jpg", "log16.npy"}
PNG, LOG16 = {"png", "npy"}, {"jpg", "log16.png"}  # as sets made earlier have them
FREE_CORES = Setting(num_workers=2, cores=8, paired=True, extensions=PNG)
IMAGES = replace(FREE_CORES, paired=False)


@pytest.mark.parametrize("stage", STAGES)
def test_the_verdict_names_the_stage_with_the_largest_share(stage):
    shares = dict.fromkeys(STAGES, 0.05) | {stage: 0.62}
    verdict = judge_stages(shares, FREE_CORES)
    assert (verdict["stage"], verdict["share"]) == (stage, 0.62)
    assert "62 % of a worker's time" in verdict["text"]
    assert "\n" not in verdict["text"]


@pytest.mark.parametrize(
    ("stage", "extensions", "preset"),
    [
        ("decode_image", [PNG], "compact"),
        ("decode_depth", [LOG16], "byte planes"),
        ("inflate", [PNG, EXACT, COMPACT], "--compression none"),
    ],
)
def test_another_encoding_is_advised_only_if_the_set_has_it_not_yet(stage, extensions, preset):
    for found in (PNG, LOG16, EXACT, COMPACT):
        text = judge_stages({stage: 0.5}, replace(FREE_CORES, extensions=found))["text"]
        assert (preset in text) == (found in extensions)


ON_MORE_CORES = {"check", "inflate", "decode_image", "decode_depth", "warp_image", "warp_depth"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("workers", "cores"), [(0, 1), (2, 8), (2, 2), (8, 2)])
def test_more_workers_are_advised_for_what_they_would_compute_on_free_cores(stage, workers, cores):
    text = judge_stages({stage: 0.5}, replace(FREE_CORES, num_workers=workers, cores=cores))["text"]
    free = workers < cores
    assert ("more workers on free cores" in text) == (stage in ON_MORE_CORES and free)
    assert (f"more cores (workers: {workers}, cores: {cores})" in text) == (stage in ON_MORE_CORES and not free)
    if stage not in ON_MORE_CORES:
        assert "more workers" not in text
        assert "more cores" not in text


@pytest.mark.parametrize(
    ("setting", "stage", "advice"),
    [
        (FREE_CORES, "warp_depth", "a smaller crop (--height, --width) would help"),
        (FREE_CORES, "batch", "larger batches (--micro-batch) would help"),
        (IMAGES, "warp_image", "smaller images (shard megadepth --max-side) would help"),
        (IMAGES, "to_tensors", "smaller images (shard megadepth --max-side) would help"),
        (IMAGES, "collate", "smaller images (shard megadepth --max-side) would help"),
    ],
)
def test_smaller_views_are_advised_by_the_options_that_there_are(setting, stage, advice):
    assert judge_stages({stage: 0.5}, setting)["text"].endswith(advice)


def make_told(cold=None, workers=None, consumer=None):
    stages = {"fetch": {"share": 0.6}, "decode_image": {"share": 0.3}, "warp_image": {"share": 0.1}}
    return {
        "stages": stages,
        "chain": {"ms_per_sample": 10.0},
        "cold": cold,
        "workers": workers,
        "consumer": consumer and {"ms_per_sample": consumer},
    }


WARM = {"fetch": 0.6, "decode_image": 0.3, "warp_image": 0.1}
COLD = {"fetch": {"share": 0.8}, "chain": {"ms_per_sample": 30.0}}
TWO = {"ms_per_sample": 5.0, "ratio": {"median": 2.0}}


def test_a_set_that_no_cache_holds_is_judged_by_what_is_cold():
    assert shares_that_count(make_told(COLD), cached=True) == pytest.approx(WARM)
    cold_shares = {"fetch": 0.8, "decode_image": 0.1, "warp_image": 1 / 30}
    assert shares_that_count(make_told(COLD), cached=False) == pytest.approx(cold_shares)
    assert [worker_ms(make_told(COLD, TWO), cached) for cached in (True, False)] == [10.0, 30.0]


@pytest.mark.parametrize(
    ("alone_ms", "fetch", "decode"),
    [(4.0, 0.0, 0.75), (5.0, 0.2, 0.6), (10.0, 0.6, 0.3), (3.5, 0.0, 3 / 3.5)],
)
def test_reading_ahead_leaves_fetch_what_the_others_do_not_take(alone_ms, fetch, decode):
    """The other stages take 4 ms of 10; a loader that reads ahead takes so many in all."""
    workers = {"ms_per_sample": alone_ms / 2, "ratio": {"median": 2.0}}
    told = make_told(None, workers)
    shares = shares_that_count(told, cached=False)
    assert (shares["fetch"], shares["decode_image"]) == pytest.approx((fetch, decode))
    assert worker_ms(told, cached=False) == alone_ms
    assert shares_that_count(make_told(), cached=False) == pytest.approx(WARM)


@pytest.mark.parametrize(
    ("workers", "cores", "consumer_ms", "bound"),
    [
        (4, 8, 2.4, False),  # 4 workers make a sample every 10 / 4 ms
        (4, 8, 2.6, True),
        (4, 2, 4.9, False),  # 2 of them run at a time
        (4, 2, 5.1, True),
        (1, 8, 9.9, False),
    ],
)
def test_a_training_process_that_is_slower_than_its_workers_is_the_bottleneck(workers, cores, consumer_ms, bound):
    told = make_told(COLD, {"ms_per_sample": 8.0, "ratio": {"median": 2.0}}, consumer_ms)
    verdict = judge(told, True, replace(FREE_CORES, num_workers=workers, cores=cores))
    assert (verdict["stage"] == "consumer") == bound
    if bound:
        assert verdict["share"] == pytest.approx(consumer_ms / 8)
        assert verdict["text"].startswith("the training process is the bottleneck: ")
        assert (
            f"{consumer_ms:.2f} ms of CPU, and they make one every {10 / min(workers, cores):.2f} ms" in verdict["text"]
        )
        assert verdict["text"].endswith(
            ": a smaller crop (--height, --width), or larger batches (--micro-batch) would help"
        )
        assert "more" not in verdict["text"]
    else:
        assert (verdict["stage"], verdict["share"]) == ("fetch", pytest.approx(0.6))


def test_without_workers_there_is_no_consumer():
    assert judge(make_told(COLD), True, replace(FREE_CORES, num_workers=0))["stage"] == "fetch"


def make_set(url, cache_bytes=None):
    cache = None if cache_bytes is None else CacheSettings(folder="cache", limit_bytes=cache_bytes)
    shards = [SimpleNamespace(bytes=300), SimpleNamespace(bytes=700)]
    return SimpleNamespace(url=url, cache=cache, manifest=SimpleNamespace(shards=shards))


@pytest.mark.parametrize(
    ("url", "cache_bytes", "cached", "helps"),
    [
        ("sets/a", None, True, "a faster disk"),
        ("s3://sets/a", None, False, "a cache on this machine (--cache DIR)"),
        ("s3://sets/a", 999, False, "a larger cache (--cache-size)"),
        ("s3://sets/a", 1000, True, "a faster disk under the cache"),
    ],
)
def test_what_helps_reading_depends_on_where_the_set_is(url, cache_bytes, cached, helps):
    opened = make_set(url, cache_bytes)
    assert stays_cached(opened, memory_bytes=1000) == cached
    assert helps_fetch(opened, cached)[0] == helps
    setting = replace(FREE_CORES, fetch_helps=helps_fetch(opened, cached))
    assert helps in judge_stages({"fetch": 0.5}, setting)["text"]


def test_a_set_larger_than_memory_does_not_stay():
    assert not stays_cached(make_set("sets/a"), memory_bytes=999)
