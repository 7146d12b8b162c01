"""Whole runs of both trainers on sets in a bucket, by the installed program, behind a link that is slow and fails."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sharding.reading.shard_set import ShardSet
from sharding.stores.ranges import MAX_MERGED_BYTES
from tests.servers import Link, answer, answer_range, link, localbucket, nanio, s3_variables, web_server
from training.monitoring.monitor import RATE_TAG, WAIT_TAG

FAULTS = ("--latency-ms", "30", "--faults", "500,reset,truncate,corrupt", "--only", "/shards/", "--fault-rate")
pytestmark = pytest.mark.slow


@contextmanager
def bucket(
    folder: Path, *urls: str, faults: tuple[str, ...], server=localbucket
) -> Iterator[tuple[dict[str, str], Link]]:
    """A bucket with copies of sets, named by number: the variables it is found by, and the link in front of it."""
    for number, url in enumerate(urls):
        shutil.copytree(url, folder / "bucket" / f"set{number}")
    with server(folder) as running, link(running.port, *FAULTS, *faults) as between:
        yield s3_variables(between.url), between


def size_of(of_set: ShardSet, *names: str) -> int:
    return sum(Path(of_set.url, name).stat().st_size for name in names)


def weights(path: Path) -> dict[str, torch.Tensor]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    return found.get("state_dict", found)


def same(ours: Path, theirs: Path) -> bool:
    ours, theirs = weights(ours), weights(theirs)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())


def logged(run: Path, tag: str) -> list[float]:
    (folder,) = {path.parent for path in run.rglob("events.out.*")}
    return [one.value for one in EventAccumulator(str(folder)).Reload().Scalars(tag)]


def test_two_ranks_fine_tune_from_a_bucket_to_the_weights_of_a_local_run(job, finetune, diode_sets, tmp_path):
    """Two workers a rank, one cache, a server that checks signatures."""
    last = Path("checkpoints", "last.ckpt")
    job.start(*finetune(devices=2, out=tmp_path / "local", epochs=2))
    assert job.wait() == [0], job.text()
    sets = [one.url for one in diode_sets]
    with bucket(tmp_path, *sets, faults=("0.1",), server=nanio) as (variables, between):
        remote = {"set": "s3://bucket/set0", "val": "s3://bucket/set1", "cache": tmp_path / "cache", "num_workers": 2}
        job.start(*finetune(devices=2, out=tmp_path / "remote", epochs=2, **remote), **variables)
        assert job.wait() == [0, 0], job.text(1)
        counts = between.counts
    assert same(tmp_path / "local" / last, tmp_path / "remote" / last)
    assert sum(counts["faults"].values()) > 0
    stored = sum(path.stat().st_size for path in (tmp_path / "bucket").rglob("*.tar*"))
    assert 0.5 * stored < counts["body_bytes"] < 1.9 * stored  # two epochs and three validations: the rest was kept
    assert all(0 < share < 1 for share in logged(tmp_path / "remote", WAIT_TAG))
    for name in ("diode-train", "diode-val"):
        assert job.text(1).count(f"{name}: over the network, about ") == 1  # of two ranks
        assert job.text(1).count(f"{name}: each of 2 workers has at most 64.0 MB in flight") == 1


def test_pretraining_from_a_bucket_gives_the_encoder_of_a_local_run(job, megadepth_set, tmp_path):
    program = str(Path(sys.executable).with_name("depthstream"))
    least = "--method simclr --model torchvision/resnet18 --epochs 1 --batch-size 8 --image-size 32 --num-workers 2"
    few = ("1", "--first", "4")  # the set is read in a handful of requests
    with bucket(tmp_path, megadepth_set.url, faults=few) as (variables, between):
        fetched = []
        for number, url in enumerate((megadepth_set.url, "s3://bucket/set0", "s3://bucket/set0")):
            before = between.counts["body_bytes"]
            out, cache = str(tmp_path / f"run{number}"), f"--cache={tmp_path / 'cache'}"
            job.start(program, "pretrain", url, "--out", out, *least.split(), "--accelerator=cpu", cache, **variables)
            assert job.wait()[-1] == 0, job.text(number)
            fetched.append(between.counts["body_bytes"] - before)
        assert sum(between.counts["faults"].values()) == 4
    images, facts = (
        int(megadepth_set.index["image_bytes"].sum()),
        size_of(megadepth_set, "manifest.json", "index.parquet"),
    )
    assert fetched[0] == 0
    assert images + facts <= fetched[1] < images + facts + 4 * MAX_MERGED_BYTES
    # The manifest twice: for the checks before torch is imported, and for the run.
    assert 0 < fetched[2] < facts + size_of(megadepth_set, "manifest.json") + 5000
    assert "megadepth: over the network, about " in job.text(1)
    for number in (1, 2):
        assert same(tmp_path / "run0" / "encoder.pt", tmp_path / f"run{number}" / "encoder.pt")


def test_two_ranks_fine_tune_from_streams_of_whole_shards(job, finetune, tmp_path):
    job.start(*finetune(devices=2, reader="webdataset", batch_size=4))
    assert job.wait() == [0], job.text()
    assert job.text().count("--reader webdataset: 40 samples") == 1
    assert len(logged(tmp_path / "run", RATE_TAG)) > 0
    assert all(0 < share < 1 for share in logged(tmp_path / "run", WAIT_TAG))


def test_an_outage_beyond_the_loaders_timeout_is_waited_for(job, megadepth_set, tmp_path):
    """LightlyTrain's is 180 s; here it is one second, and the server fails for four."""
    asked = []

    def respond(handler):
        data = Path(megadepth_set.url, handler.path.lstrip("/"))
        if handler.path.endswith(".tar.zst"):
            asked.append(time.monotonic())
            if asked[-1] < asked[0] + 4:
                return answer(handler, 503)
        if not data.is_file():
            return answer(handler, 404)
        return (
            answer_range(handler, data.read_bytes())
            if handler.headers["range"]
            else answer(handler, 200, data.read_bytes())
        )

    program = str(Path(sys.executable).with_name("depthstream"))
    least = "--method simclr --model torchvision/resnet18 --epochs 1 --batch-size 8 --image-size 32 --num-workers 1"
    with web_server(respond) as server:
        words = [program, "pretrain", server.url, "--out", str(tmp_path / "run"), *least.split(), "--accelerator=cpu"]
        job.start(*words, LIGHTLY_TRAIN_DATALOADER_TIMEOUT_SEC="1")
        assert job.wait() == [0], job.text()
    assert asked[-1] - asked[0] >= 4
    assert (tmp_path / "run" / "encoder.pt").is_file()
