"""Loading from a web server: the same batches as from the folder, by workers that never fork a network client."""

import pytest
import torch

from sharding.config import ShardDiodeConfig
from sharding.create import shard_diode
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset, ImageDataset
from training.loading.loader import Loading, build_loader, start_method
from training.loading.sampler import TrainSampler


@pytest.fixture
def urls(diode_tree, tmp_path, range_server):
    """The same set as a folder and behind a web server."""
    shard_diode(ShardDiodeConfig(source=str(diode_tree), set=str(tmp_path / "set"), split="val", workers=1))
    return str(tmp_path / "set"), f"http://127.0.0.1:{range_server.server_address[1]}/set"


def epoch(url, num_workers):
    augment = PairedAugment(height=32, width=48)
    dataset = DiodeDepthDataset(url, augment=augment, seed=3, shuffle=True)
    loader = build_loader(
        dataset, TrainSampler(len(dataset), 4), Loading(batch_size=2, num_workers=num_workers, timeout_s=60)
    )
    return list(loader)


def test_remote_workers_make_the_same_batches_as_a_local_process(urls):
    local, remote = epoch(urls[0], 0), epoch(urls[1], 2)
    assert [batch["key"] for batch in local] == [batch["key"] for batch in remote]
    for ours, theirs in zip(local, remote, strict=True):
        assert torch.equal(ours["image"], theirs["image"])
        assert torch.equal(ours["depth"], theirs["depth"])


def test_remote_sets_never_fork(urls):
    loading = Loading(batch_size=1, num_workers=2)
    assert [start_method(DiodeDepthDataset(url), loading) for url in urls] == ["fork", "forkserver"]


def test_pretraining_fetches_image_bytes_alone(urls, range_server):
    from sharding.shardset import ShardSet

    opened = ShardSet(urls[1])
    range_server.requests.clear()
    dataset = ImageDataset([opened])
    dataset.__getitems__([(0, place) for place in range(len(dataset))])
    fetched = [header.removeprefix("bytes=").split("-") for _, header in range_server.requests]
    images = {
        (offset, offset + length)
        for offset, length in zip(opened.index["image_offset"], opened.index["image_bytes"], strict=True)
    }
    assert sum(int(last) + 1 - int(first) for first, last in fetched) < opened.manifest.num_bytes
    assert {(int(first), int(last) + 1) for first, last in fetched} == images
