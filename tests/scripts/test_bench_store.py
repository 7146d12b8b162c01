import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/bench_store.py"
TINY = ("--height", "32", "--width", "48", "--batch-size", "2", "--num-workers", "1", "--epochs", "1", "--repeats", "1")
COUNTED = {"cached_requests", "samples", "images_only_bytes_share", "inflight_bytes_max", "inflight_bytes_bound"}
KEYS = COUNTED | {
    *("latency50_wait_share", "latency50_wait_share_with_first", "faults5_wait_share", "first_batch_s"),
    *("cached_over_local", "rss_growth", "latency50_over_local", "faults5_over_local", "loopback_over_local"),
    *("local_cpu_ms_per_sample", "loopback_cpu_ms_per_sample", "requests_per_epoch", "bytes_per_epoch"),
    *("local_wait_share", "local_wait_share_with_first"),
    *("link50_share", "link50_wait_share", "cpu", "cores", "versions", "date", "command", "missed"),
}


def call(*argv):
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True, timeout=170)


@pytest.mark.slow
def test_every_figure_is_there_and_what_is_counted_is_exact(tmp_path):
    done = call("--samples", "17", "--folder", str(tmp_path), "--json", *TINY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= KEYS
    index = json.loads((tmp_path / "bucket" / "set" / "manifest.json").read_text())
    assert index["samples"] == 17
    assert found["samples"] == 16  # the tail of less than a batch is dropped
    assert found["cached_requests"] == 0
    assert 8 <= found["requests_per_epoch"] <= 16  # neighbours of a batch share one
    assert found["bytes_per_sample"] * 16 * 0.9 < found["bytes_per_epoch"] < found["bytes_per_sample"] * 18
    assert 0 < found["inflight_bytes_max"] <= found["inflight_bytes_bound"]
    assert 0.2 < found["images_only_bytes_share"] < 0.8
    for name in ("latency50_wait_share", "latency50_wait_share_with_first", "faults5_wait_share", "link50_wait_share"):
        assert 0 <= found[name] <= 1
    assert set(found["missed"]) <= KEYS


def test_too_few_samples_are_refused():
    done = call("--samples", "63")
    assert done.returncode == 2
    assert "--samples: expected four batches a worker or more" in done.stderr


def test_an_epoch_that_is_not_the_local_one_is_an_error(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from store_bench.epochs import EpochFigures
    from store_bench.parts import require_same

    from sharding.errors import DataError

    def epoch(keys, checksums):
        figures = {"samples": 3, "seconds": 1.0, "first_batch_s": 0.1, "waits": (0.1,), "in_flight": 0, "pss": 1}
        return EpochFigures(keys=keys, checksums=checksums, cpu_s=1.0, **figures)

    require_same([epoch(("a", "b"), (1, 2))], [epoch(("a", "b"), (1, 2))])
    require_same([epoch(("a", "b"), ())], [epoch(("a", "b"), (1, 2))])  # keys alone
    with pytest.raises(DataError, match="found other samples"):
        require_same([epoch(("b", "a"), ())], [epoch(("a", "b"), (1, 2))])
    with pytest.raises(DataError, match=r"in the batches \[1\]"):
        require_same([epoch(("a", "b"), (1, 3))], [epoch(("a", "b"), (1, 2))])
    with pytest.raises(DataError, match="expected the local epoch"):
        require_same([epoch(("b", "a"), (1, 2))], [epoch(("a", "b"), (1, 2))])
    with pytest.raises(DataError, match="each sample once, found 1 of 2"):
        require_same([epoch(("a", "a"), (1, 2))], [epoch(("a", "a"), (1, 2))])


def test_waiting_is_counted_from_the_second_batch_on(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from store_bench.epochs import EpochFigures

    seen = EpochFigures(
        samples=8,
        seconds=10.0,
        first_batch_s=2.0,
        waits=(0.5, 0.0, 1.5),
        keys=(),
        checksums=(),
        in_flight=0,
        pss=0,
        cpu_s=0.0,
    )
    assert (seen.wait_share, seen.wait_share_with_first, seen.rate, seen.batch_s) == (0.25, 0.4, 0.8, 8 / 3)


@pytest.mark.parametrize(
    ("values", "grown"), [([100, 110, 120], 0.2), ([100, 130, 100], 0.0), ([7], 0.0), ([200, 100], -0.5)]
)
def test_growth_is_that_of_the_line_through_the_values(values, grown, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from store_bench.parts import growth

    assert growth(values) == pytest.approx(grown)
