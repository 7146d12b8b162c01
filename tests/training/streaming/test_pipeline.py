"""Streaming whole shards through webdataset: the same samples as by the index, in the loader of the trainers."""

import io
import os
import resource
import shutil
import subprocess
import tarfile
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset

from sharding.config import IndexConfig, ShardDiodeConfig
from sharding.errors import DataError, UsageError
from sharding.making.create import shard_diode
from sharding.making.index_tars import run as index_tars
from sharding.reading.shard_set import ShardSet
from training.depth_sets.holdout import hold_out
from training.launch.world import World
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.reading_cost import format_bytes
from training.loading.sampler import TrainSampler
from training.streaming.announce import describe_streaming
from training.streaming.datasets import StreamedDepth, StreamedImages
from training.streaming.options import Streaming
from training.streaming.pipeline import stream

AUGMENT = PairedAugment(height=16, width=24)
SEED = 3
STREAMING = Streaming(shuffle_buffer=6)
Item = dict[str, object]


def stream_loader(opened, batch_size, micro_batch, num_workers=0, streaming=STREAMING):
    sampler = TrainSampler(len(opened), batch_size)
    streamed = StreamedDepth(opened, streaming, partial(sampler.upcoming, micro_batch), augment=AUGMENT, seed=SEED)
    return build_loader(streamed, sampler, Loading(batch_size=micro_batch, num_workers=num_workers)), sampler


def items(loader):
    """Key -> what was made of the sample, of all batches; each key once."""
    found = {}
    for batch in loader:
        for at, key in enumerate(batch["key"]):
            assert key not in found
            found[key] = tuple(batch[name][at].numpy().tobytes() for name in ("image", "depth", "valid", "weight"))
    return found


def indexed_items(opened, epoch):
    indexed = DiodeDepthDataset(opened, augment=AUGMENT, seed=SEED, shuffle=True)
    return {
        item["key"]: tuple(item[name].numpy().tobytes() for name in ("image", "depth", "valid", "weight"))
        for item in indexed.__getitems__([(epoch, position) for position in range(len(opened))])
    }


def as_rank(monkeypatch, rank, size):
    monkeypatch.setattr(World, "current", classmethod(lambda cls: World(rank, size)))


def set_of(diode_tree, target, **options):
    shard_diode(ShardDiodeConfig(source=str(diode_tree), set=str(target), split="train", workers=1, **options))
    return ShardSet(target)


@pytest.fixture(scope="module")
def train(diode_sets):
    assert len(diode_sets[0]) == 40
    assert len(diode_sets[0].shard_sizes) > 3
    return diode_sets[0]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_an_epoch_is_that_of_the_indexed_reader_in_another_order(train, monkeypatch, size, num_workers):
    """Augmented alike, bit for bit; over all ranks and workers, and in two epochs of one loader."""
    epochs = ({}, {})
    for rank in range(size):
        as_rank(monkeypatch, rank, size)
        loader, sampler = stream_loader(train, 8, 2, num_workers)
        for epoch, found in enumerate(epochs):
            sampler.set_epoch(epoch)
            mine = items(loader)
            assert len(mine) == len(train) // size
            assert not set(mine) & set(found)
            found |= mine
    for epoch, found in enumerate(epochs):
        assert found == indexed_items(train, epoch)


@pytest.mark.slow
def test_a_single_shard_serves_more_processes_than_there_are_shards(diode_tree, tmp_path, monkeypatch):
    opened, found = set_of(diode_tree, tmp_path / "set"), {}
    assert len(opened.shard_sizes) == 1
    for rank in range(4):
        as_rank(monkeypatch, rank, 4)
        mine = items(stream_loader(opened, 12, 1, num_workers=2)[0])
        assert len(mine) == 3 * 3  # of 40 samples 36 make whole steps: each rank has as many
        assert not set(mine) & set(found)
        found |= mine
    assert found.items() <= indexed_items(opened, 0).items()


def test_held_out_scenes_are_streamed_to_nobody(train):
    """They lie in the same shards as the others, and are read past."""
    left, held, _ = hold_out(train, np.zeros(len(train), bool), "5", seed=2)
    batch_size = 4
    found = items(stream_loader(left, batch_size, 2, num_workers=2)[0])
    assert len(found) == len(left) // batch_size * batch_size
    assert not set(found) & set(held.index["key"])
    assert found.items() <= indexed_items(left, 0).items()
    both = (left.shard_sizes > 0) & (held.shard_sizes > 0)
    assert both.any()


def keys(loader):
    return [list(batch["key"]) for batch in loader]


def test_the_order_is_another_in_each_epoch_and_no_shards(train):
    loader, sampler = stream_loader(train, 8, 8)
    first, again = keys(loader), keys(loader)
    sampler.set_epoch(1)
    assert first == again
    assert first != keys(loader)
    rank = {key: at for at, key in enumerate(train.index["key"])}
    rows = [rank[key] for batch in first for key in batch]
    assert sum(b != a + 1 for a, b in pairwise(rows)) > len(rows) / 2
    assert keys(stream_loader(train, 8, 8, streaming=Streaming(shuffle_buffer=1))[0]) != first


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_midway_goes_on_exactly_in_the_same_world(train, num_workers):
    whole = keys(stream_loader(train, 8, 4, num_workers)[0])
    loader, sampler = stream_loader(train, 8, 4, num_workers)
    sampler.resume(0, 24)
    assert keys(loader) == whole[6:]
    sampler.set_epoch(1)
    assert len(keys(loader)) == len(whole)


def test_single_items_out_of_turn_are_the_same(train):
    sampler = TrainSampler(len(train), 8)
    streamed = StreamedDepth(train, STREAMING, partial(sampler.upcoming, 8), augment=AUGMENT, seed=SEED)
    order = [item["key"] for item in streamed.__getitems__([(0, position) for position in range(12)])]
    for position in (7, 8, 3, 3, 0):
        assert streamed[(0, position)]["key"] == order[position]


def test_a_subset_is_streamed_alone(train):
    opened = ShardSet(train.url, "scene_type == 'outdoor'")
    assert 0 < len(opened) < len(train)
    loader, _ = stream_loader(opened, 1, 1)
    assert items(loader) == indexed_items(opened, 0)


def draws(dataset, count, epoch=0):
    return {
        draw.key: (draw.seed, draw.image.tobytes())
        for draw in dataset.__getitems__([(epoch, position) for position in range(count)])
    }


def test_images_of_several_sets_are_those_of_the_indexed_reader(train, megadepth_set):
    sets, count = [train, megadepth_set], len(train) + len(megadepth_set)
    sampler = TrainSampler(count, 1)
    streamed = StreamedImages(sets, STREAMING, seed=SEED)
    with pytest.raises(RuntimeError, match=r"call planned\(\) first"):
        streamed[(0, 0)]
    found = draws(streamed.planned(partial(sampler.upcoming, 1)), count, epoch=2)
    assert len(streamed) == len(found) == count
    assert found == draws(ImageDataset(sets, seed=SEED), count, epoch=2)


def damaged_copy(train, folder, part):
    """A copy of a set with a byte of every stored `part` turned round."""
    shutil.copytree(train.url, folder)
    for row in train.index.to_dict("records"):
        shard = folder / "shards" / row["shard"]
        content = bytearray(shard.read_bytes())
        content[row[f"{part}_offset"] + row[f"{part}_bytes"] // 2] ^= 0x55
        shard.write_bytes(content)
    return ShardSet(folder)


def test_pretraining_decodes_no_depth(train, tmp_path, monkeypatch):
    """Only members of images come out of the tar."""
    import sharding.reading.webdataset_decoder

    monkeypatch.setattr(sharding.reading.webdataset_decoder, "decode_depth", None)
    monkeypatch.setattr(sharding.reading.webdataset_decoder, "decode_valid", None)
    streamed = StreamedImages([train], STREAMING).planned(partial(TrainSampler(40, 1).upcoming, 1))
    assert len(draws(streamed, 40)) == 40


def epoch_of(opened, streaming=STREAMING):
    return items(stream_loader(opened, 1, 1, streaming=streaming)[0])


@pytest.mark.parametrize("part", ["image", "depth", "valid"])
def test_damage_is_an_error_that_names_the_shard(train, tmp_path, part):
    opened = damaged_copy(train, tmp_path / "set", part)
    with pytest.raises(DataError, match=r"^shard shards/\S+\.tar\.zst.*: .*`depthstream verify`") as caught:
        epoch_of(opened)
    assert "<" not in str(caught.value)  # no object's repr


def test_damage_of_the_last_sample_that_is_wanted_is_found(train, tmp_path):
    """The checksum of a frame stands at its end: the walk must get there."""
    shutil.copytree(train.url, tmp_path / "set")
    row = train.index[train.index["shard"] == train.index["shard"].iloc[0]].iloc[0]
    shard = tmp_path / "set" / "shards" / row["shard"]
    content = bytearray(shard.read_bytes())
    last = row["valid_offset"] + row["valid_bytes"] - 1  # of the checksum itself
    content[last] ^= 0x55
    shard.write_bytes(content)
    with pytest.raises(DataError, match=f"shard shards/{row['shard']}: "):
        epoch_of(ShardSet(tmp_path / "set", f"key == '{row['key']}'"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_shard_is_an_error(train, tmp_path, share):
    shutil.copytree(train.url, tmp_path / "set")
    shard = sorted((tmp_path / "set" / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[: int(share * shard.stat().st_size)])
    with pytest.raises(DataError, match=f"shard shards/{shard.name}: "):
        epoch_of(ShardSet(tmp_path / "set"))


def test_a_shard_cut_between_two_samples_is_an_error(train, tmp_path):
    shutil.copytree(train.url, tmp_path / "set")
    rows = train.index[train.index["shard"] == train.index["shard"].iloc[0]]
    shard = tmp_path / "set" / "shards" / rows["shard"].iloc[0]
    shard.write_bytes(shard.read_bytes()[: rows["image_offset"].iloc[-1]])
    with pytest.raises(DataError, match=r"expected a whole tar, .* found that it ends: it is truncated; `depthstream"):
        epoch_of(ShardSet(tmp_path / "set"))


def rewritten(opened, folder, change):
    """A copy of a set of plain tars whose first shard has what `change` makes of its members, name -> bytes."""
    shutil.copytree(opened.url, folder)
    path = sorted((folder / "shards").iterdir())[0]
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return ShardSet(folder)


def test_a_whole_tar_that_lacks_a_sample_is_an_error(plain_set, tmp_path):
    opened = rewritten(plain_set, tmp_path / "set", lambda members: members[:-4])
    with pytest.raises(
        DataError, match=r"expected member \S+, as the index has it, found none up to the end; the shard"
    ):
        epoch_of(opened)


def test_a_member_that_occurs_twice_is_an_error(plain_set, tmp_path):
    opened = rewritten(plain_set, tmp_path / "set", lambda members: members[:1] + members)
    with pytest.raises(DataError, match=r"member \S+ occurs twice"):
        epoch_of(opened)


def test_members_of_a_sample_need_not_be_adjacent(plain_set, tmp_path):
    def by_part(members):
        return sorted(members, key=lambda named: named[0].partition(".")[2])

    assert epoch_of(rewritten(plain_set, tmp_path / "set", by_part)) == indexed_items(plain_set, 0)


def test_a_sparse_member_is_not_inflated(plain_set, tmp_path):
    """What it claims to be does not matter: 6 GB of zeros would fit no memory."""
    opened = rewritten(plain_set, tmp_path / "set", lambda members: members)
    path = sorted((tmp_path / "set" / "shards").iterdir())[0]
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(6_000_000_000)
        file.write(b"x")
    name = f"{opened.index['key'].iloc[0]}.{opened.index['image_ext'].iloc[0]}"
    subprocess.run(
        ["tar", "--sparse", "--format=pax", f"--transform=s/sparse/{name}/", "-cf", path, "-C", tmp_path, "sparse"],
        check=True,
    )
    with pytest.raises(DataError, match=r"expected member \S+, as the index has it, found none .*1 sparse file"):
        epoch_of(ShardSet(tmp_path / "set", "index < 1"))


def test_a_missing_shard_is_an_error(train, tmp_path):
    shutil.copytree(train.url, tmp_path / "set")
    shard = sorted((tmp_path / "set" / "shards").iterdir())[0]
    shard.unlink()
    with pytest.raises(DataError, match=f"shard shards/{shard.name}: .*expected a readable file"):
        epoch_of(ShardSet(tmp_path / "set"))


@pytest.fixture(scope="module")
def plain_set(diode_tree, tmp_path_factory):
    """A set of uncompressed tars, which have no checksums of their own."""
    target = tmp_path_factory.mktemp("plain") / "set"
    return set_of(diode_tree, target, compression="none", shard_size=1_000_000)


def test_uncompressed_shards_are_compared_with_the_index(plain_set, tmp_path):
    assert epoch_of(plain_set) == indexed_items(plain_set, 0)
    opened = damaged_copy(plain_set, tmp_path / "set", "depth")
    with pytest.raises(DataError, match=r"shard shards/.*\.tar: member .*\.depth\..*: expected crc32c .*, found"):
        epoch_of(opened)


def test_tars_made_elsewhere_are_streamed(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "tars").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "tars" / "mine-%04d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(10):
            depth = random.uniform(1, 9, (20, 30)).astype(np.float32)
            image = random.integers(0, 256, (20, 30, 3), np.uint8)
            writer.write({"__key__": f"a/{number:02d}", "png": image, "depth.npy": depth, "cls": number})
    index_tars(IndexConfig(tars=str(tmp_path / "tars"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    assert len(opened.shard_sizes) == 3
    assert epoch_of(opened) == indexed_items(opened, 0)


@pytest.mark.slow
def test_a_store_without_ranges_is_enough(train, tmp_path, range_server):
    """The web server's requests for shards have no range; each shard is asked for once, but for one."""
    shutil.copytree(train.url, tmp_path / "set")
    opened = ShardSet(f"http://127.0.0.1:{range_server.server_address[1]}/set")
    range_server.requests.clear()
    loader, _ = stream_loader(opened, 8, 4, num_workers=1)
    assert items(loader) == indexed_items(train, 0)
    asked = Counter(path for path, _ in range_server.requests)
    assert {requested for _, requested in range_server.requests} == {None}
    assert sorted(asked) == [f"/set/{shard.name}" for shard in train.manifest.shards]
    assert len(train.manifest.shards) <= asked.total() <= len(train.manifest.shards) + 1


def test_an_object_that_came_damaged_is_fetched_again(train, tmp_path, range_server, monkeypatch):
    from sharding.stores.remote import RemoteStore

    shutil.copytree(train.url, tmp_path / "set")
    opened = ShardSet(f"http://127.0.0.1:{range_server.server_address[1]}/set")
    read_all, spoilt = RemoteStore.read_all, []

    def spoil_first(store, name):
        data = read_all(store, name)
        if name in spoilt:
            return data
        spoilt.append(name)
        return data[:-1] + bytes([data[-1] ^ 1])

    monkeypatch.setattr(RemoteStore, "read_all", spoil_first)
    assert epoch_of(opened) == indexed_items(train, 0)
    assert len(spoilt) == len(train.manifest.shards)
    monkeypatch.setattr(RemoteStore, "read_all", lambda store, name: read_all(store, name)[:-1] + b"\0")
    with pytest.raises(DataError, match=r"shard shards/.*: expected sha256 .*, found .* bytes; get a whole copy"):
        epoch_of(opened)


@pytest.mark.parametrize("command", ["cat {url}", 'cat "{url}"', "cat '{url}'", "zstd -dc {url}"])
def test_a_command_writes_the_shards(train, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'a set\'s "folder"; $(touch canary) `touch canary` $1\n'
    shutil.copytree(train.url, folder)
    if command.startswith("zstd") and shutil.which("zstd") is None:
        pytest.skip("needs the program zstd")
    streaming = Streaming(shuffle_buffer=6, pipe=command)
    assert epoch_of(ShardSet(folder), streaming) == indexed_items(train, 0)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_begins_with_a_hyphen_is_no_option(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(train.url, "-set")
    assert epoch_of(ShardSet("-set"), Streaming(shuffle_buffer=6, pipe="cat {url}")) == indexed_items(train, 0)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("test s3cret && cat {url}; exit 3", "ended with exit status 3"),
        ("test s3cret && head -c 5000 {url}; exit 4", "ended with exit status 4"),
        ("test s3cret && head -c 5000 {url}", "expected a whole tar, found a damaged or truncated one"),
        ("true s3cret {url}", "expected a whole tar, found a damaged or truncated one"),
    ],
)
def test_a_command_that_fails_is_an_error_that_does_not_show_it(train, command, expected):
    opened = ShardSet(train.url, "scene_type == 'outdoor'")
    with pytest.raises(DataError, match=rf"^shard shards/\S+: .*{expected}") as caught:
        epoch_of(opened, Streaming(shuffle_buffer=6, pipe=command))
    assert "s3cret" not in str(caught.value)


def test_a_command_that_stalls_is_given_up_and_ended(train, tmp_path):
    from training.streaming.shard_stream import ShardOpener

    command = f"echo $$ > {tmp_path}/pid; head -c 100 /dev/zero; sleep 600; : {{url}}"
    opener = ShardOpener(url=train.url, pipe=command, wait_s=60)
    stalled = pytest.raises(DataError, match=r"wrote nothing for 0\.3 s")
    with stalled, opener.open(train.manifest.shards[0], train.reader.store) as tar:
        tar.raw._wait_s = 0.3  # from here on: its first bytes have arrived, however long the shell took to start
        tar.read()
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_command_may_write_byte_by_byte_with_many_files_open(train):
    from training.streaming.shard_stream import ShardOpener

    shard, store = train.manifest.shards[0], train.reader.store
    with ShardOpener(url=train.url).open(shard, store) as tar:
        whole = tar.read()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]  # select() takes descriptors below 1024
    try:
        slow = "exec 3< {url}; for at in 1 2 3 4 5; do head -c 1 <&3; sleep 0.02; done; cat <&3"
        with ShardOpener(url=train.url, pipe=slow).open(shard, store) as tar:
            assert tar.read() == whole
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_command_has_a_place_for_the_url():
    with pytest.raises(UsageError, match=r"--pipe: expected a command with \{url\} in it"):
        Streaming(shuffle_buffer=6, pipe="zstd -dc")
    with pytest.raises(UsageError, match="--shuffle-buffer 0: expected at least 1 sample"):
        Streaming(shuffle_buffer=0)


def test_what_it_cannot_promise_is_said(train):
    size, promise = describe_streaming([train], ("image", "depth", "valid"), 2, STREAMING)
    shards = len(train.manifest.shards)
    assert f"40 samples, {shards} whole shards of {format_bytes(train.manifest.num_bytes)} an epoch" in size
    assert "each of 2 workers shuffles among 6 samples" in size
    for word in (
        "shuffle buffer",
        "other ranks, workers or micro-batches",
        "resumed",
        "nothing is read ahead or cached",
    ):
        assert word in promise


def test_batches_have_the_shapes_of_the_indexed_ones(train):
    batch = next(iter(stream_loader(train, 8, 4)[0]))
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items() if name != "key"}
    assert shapes == {
        "image": ((4, 3, 16, 24), torch.uint8),
        "depth": ((4, 1, 16, 24), torch.float32),
        "colour": ((4, 3), torch.float32),
        "valid": ((4, 1, 16, 24), torch.bool),
        "weight": ((4,), torch.float32),
    }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loop_of_ones_own_has_webdatasets_samples(train, num_workers):
    pipeline = stream(train, epoch=1, seed=SEED)
    loader = webdataset.WebLoader(pipeline, batch_size=None, num_workers=num_workers, collate_fn=dict)
    found = {sample["__key__"]: sample for sample in loader}
    assert sorted(found) == sorted(train.index["key"])
    for row, sample in enumerate(train.read(range(3))):
        exts = train.index.iloc[row]
        assert np.array_equal(found[sample.key][exts["image_ext"]], sample.image)
        assert np.array_equal(found[sample.key]["depth." + exts["depth_ext"]], sample.depth, equal_nan=True)
        assert np.array_equal(found[sample.key]["valid." + exts["valid_ext"]], sample.valid)


def test_a_loop_of_ones_own_is_shared_evenly(train, monkeypatch):
    shares = []
    for rank in range(3):
        as_rank(monkeypatch, rank, 3)
        shares.append([sample["__key__"] for sample in stream(train)])
    assert [len(share) for share in shares] == [13, 13, 13]  # of 40
    assert len({key for share in shares for key in share}) == 39


def test_a_shard_is_read_no_further_than_it_is_wanted(train, tmp_path):
    """Up to the member behind: what is damaged farther on is not met."""
    shutil.copytree(train.url, tmp_path / "set")
    rows = train.index[train.index["shard"] == train.index["shard"].iloc[0]]
    assert len(rows) > 2
    shard = tmp_path / "set" / "shards" / rows["shard"].iloc[0]
    whole = shard.read_bytes()
    begin = rows["image_offset"].iloc[2]
    shard.write_bytes(whole[:begin] + bytes(len(whole) - begin))
    opened = ShardSet(tmp_path / "set", f"key == '{rows['key'].iloc[0]}'")
    assert list(epoch_of(opened)) == [rows["key"].iloc[0]]
    with pytest.raises(DataError, match="damaged or truncated"):
        epoch_of(ShardSet(tmp_path / "set", f"key == '{rows['key'].iloc[2]}'"))
