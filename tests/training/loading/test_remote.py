"""Loading from servers: the same batches as from the folder, by workers that never fork a network client."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial

import pytest
import torch

from sharding.config import ShardDiodeConfig
from sharding.errors import DataError
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet
from sharding.stores.remote import RemoteStore
from sharding.stores.retry import RetryingStore, RetryPolicy
from tests.servers import link, localbucket, s3_variables
from training.launch.worker_errors import plain_message
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader, start_method
from training.loading.sampler import EvalSampler, TrainSampler
from training.pretraining.views import ViewDataset
from training.profiling.image_views import ImageViews


@pytest.fixture
def urls(diode_tree, tmp_path, range_server):
    """The same set as a folder and behind a web server."""
    shard_diode(ShardDiodeConfig(source=str(diode_tree), set=str(tmp_path / "set"), split="train", workers=1))
    return str(tmp_path / "set"), f"http://127.0.0.1:{range_server.server_address[1]}/set"


def make_loader(dataset, num_workers, ahead_bytes=None):
    loading = Loading(batch_size=2, num_workers=num_workers, timeout_s=60, ahead_bytes=ahead_bytes)
    return build_loader(dataset, TrainSampler(len(dataset), 4, dataset.prepare), loading)


def epochs(url, num_workers):
    """Two epochs, and the rest of a third."""
    dataset = DiodeDepthDataset(url, augment=PairedAugment(height=32, width=48), seed=3, shuffle=True)
    loader = make_loader(dataset, num_workers)
    made = []
    for epoch, consumed in ((0, 0), (1, 0), (2, 28)):
        loader.sampler.resume(epoch, consumed)
        made += list(loader)
    return made


def test_remote_workers_make_the_same_batches_as_a_local_process(urls, range_server):
    local, remote = epochs(urls[0], 0), epochs(urls[1], 2)
    assert len(local) == 20 + 20 + 6
    assert [batch["key"] for batch in local] == [batch["key"] for batch in remote]
    for ours, theirs in zip(local, remote, strict=True):
        assert torch.equal(ours["image"], theirs["image"])
        assert torch.equal(ours["depth"], theirs["depth"])
    read = [path for path, _ in range_server.requests if "/shards/" in path]
    assert 80 <= len(read) <= 92  # nothing is read twice; samples that touch are read by one request


def test_remote_sets_never_fork(urls):
    loading = Loading(batch_size=1, num_workers=2)
    assert [start_method(DiodeDepthDataset(url), loading) for url in urls] == ["fork", "forkserver"]


def test_a_local_set_does_not_fork_beside_a_remote_one(urls):
    local = DiodeDepthDataset(urls[0])
    ShardSet(urls[1])
    assert start_method(local, Loading(batch_size=1, num_workers=2)) == "forkserver"


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_pretraining_fetches_image_bytes_alone(urls, range_server, num_workers):
    opened = ShardSet(urls[1])
    range_server.requests.clear()
    dataset = ImageDataset([opened])
    loader = build_loader(
        dataset,
        TrainSampler(len(dataset), 8, dataset.prepare),
        Loading(batch_size=4, num_workers=num_workers, timeout_s=60),
        collate_fn=list,
    )
    assert sum(len(batch) for batch in loader) == len(opened) == 40
    fetched = [header.removeprefix("bytes=").split("-") for _, header in range_server.requests]
    images = {
        (offset, offset + length)
        for offset, length in zip(opened.index["image_offset"], opened.index["image_bytes"], strict=True)
    }
    assert len(fetched) == len(opened)
    assert {(int(first), int(last) + 1) for first, last in fetched} == images


def views_of_profile(images):
    return ImageViews(images, PairedAugment(height=32, width=48))


def views_of_pretraining(images):
    return ViewDataset(images, lambda inputs: [{"image": torch.tensor(inputs["image"])}], nullcontext)


@pytest.mark.slow
@pytest.mark.parametrize("make_views", [views_of_profile, views_of_pretraining])
def test_views_of_images_are_read_ahead(urls, range_server, make_views):
    images = ImageDataset([ShardSet(urls[1])])
    range_server.requests.clear()
    sampler = TrainSampler(len(images), 2, images.prepare)
    batches = iter(build_loader(make_views(images), sampler, Loading(batch_size=2), collate_fn=list))
    next(batches)
    patience = time.monotonic() + 20
    while len(range_server.requests) < len(images) and time.monotonic() < patience:
        time.sleep(0.01)
    assert len(range_server.requests) == len(images)  # 64 MB are more than this set


def test_neighbours_in_a_batch_are_read_by_one_request(urls, range_server):
    opened = ShardSet(urls[1])
    range_server.requests.clear()
    loader = build_loader(DiodeDepthDataset(opened), EvalSampler(len(opened), 8), Loading(batch_size=8))
    assert [key for batch in loader for key in batch["key"]] == opened.index["key"].tolist()
    shards = opened.index["shard"].tolist()
    assert len(range_server.requests) == len({(row // 8, shard) for row, shard in enumerate(shards)}) < 10


def open_briefly(url):
    """A store that gives up soon."""
    return RetryingStore(RemoteStore(url), RetryPolicy(attempts=3, deadline_s=5, first_pause_s=0.01))


@pytest.mark.slow
def test_a_server_that_is_gone_ends_the_epoch_with_words(urls, range_server):
    dataset = DiodeDepthDataset(urls[1], seed=3, shuffle=True)
    dataset._reader._open = partial(open_briefly, urls[1])
    batches = iter(make_loader(dataset, 2, ahead_bytes=60_000))
    next(batches)
    range_server.shutdown()
    range_server.server_close()
    with pytest.raises(DataError) as failure:
        list(batches)
    batches._shutdown_workers()  # torch takes 10 s for it once the garbage collector has the queues
    text = plain_message(failure.value)
    assert text.startswith("loader worker ")
    key = text.partition(", key ")[2].partition(":")[0].partition(" and ")[0]
    assert key in set(ShardSet(urls[0]).index["key"])
    assert f"{urls[1]}/shards/" in text
    assert ", bytes " in text
    assert "3 attempts" in text


@pytest.mark.slow  # torch looks every 5 s whether its workers live
def test_a_worker_that_is_killed_while_it_reads_ahead_ends_the_epoch(urls):
    dataset = DiodeDepthDataset(urls[1], seed=3, shuffle=True)
    loader = build_loader(dataset, TrainSampler(40, 4), Loading(batch_size=2, num_workers=2))
    batches = iter(loader)
    next(batches)
    os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)
    # Which one depends on whether a batch of that worker was on its way.
    with pytest.raises((RuntimeError, EOFError, OSError)) as failure:
        list(batches)
    assert "was killed (" in plain_message(failure.value)


FAULTS = ("--fault-rate", 0.2, "--faults", "500,reset,corrupt,truncate", "--only", "shards", "--seed", 1)

S3_READER = """
import sys
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler

if __name__ == "__main__":
    dataset = DiodeDepthDataset("s3://bucket/set", seed=3, shuffle=True)
    sampler = TrainSampler(len(dataset), 4, dataset.prepare)
    loader = build_loader(dataset, sampler, Loading(batch_size=2, num_workers=2, timeout_s=60))
    for batch in loader:
        print(*batch["key"], float(batch["depth"].double().sum()), flush=True)
"""


@pytest.mark.slow  # a process of its own, for the variables must be there before its workers are
def test_a_bucket_behind_an_unreliable_link_gives_the_same_batches(diode_sets, tmp_path):
    shutil.copytree(diode_sets[0].url, tmp_path / "bucket" / "set")
    script = tmp_path / "read.py"
    script.write_text(S3_READER)
    with localbucket(tmp_path) as server, link(server.port, *FAULTS) as between:
        environment = os.environ | s3_variables(between.url)
        run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=90)
        counts = between.counts
    dataset = DiodeDepthDataset(diode_sets[0], seed=3, shuffle=True)
    expected = [
        " ".join([*batch["key"], str(float(batch["depth"].double().sum()))]) for batch in make_loader(dataset, 0)
    ]
    assert run.stdout.splitlines() == expected, run.stderr
    assert len(expected) == 20
    assert sum(counts["faults"].values()) > 0
