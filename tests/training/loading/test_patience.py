"""Workers that are killed, or have to wait: what the trainer says, and that it neither gives up nor hangs."""

import contextlib
import os
import re
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sharding.reading.shard_set import ShardSet
from sharding.stores.client import TimeLimits
from sharding.stores.retry import RetryPolicy
from tests.servers import answer, answer_range, web_server
from training.launch.group import GROUP_TIMEOUT
from training.launch.worker_errors import plain_message
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.read_ahead import WAIT_S
from training.loading.sampler import TrainSampler
from training.pretraining.views import ViewDataset

LIMIT_S = 60
PRELOAD = ("training.loading.dataset", "training.pretraining.views")


class Deadly:
    """A decoder that kills its process at one image, as a fault in a C library does."""

    def __init__(self, decode, victim, number):
        self.decode, self.victim, self.number = decode, victim, number

    def __call__(self, data):
        if data == self.victim:
            os.kill(os.getpid(), self.number)
            time.sleep(LIMIT_S)
        return self.decode(data)


def make_deadly(reader, row, number):
    (parts,) = reader.read_encoded([row], ["image"])
    decoders = reader._decoders
    return reader.with_decoders(replace(decoders, image=Deadly(decoders.image, parts["image"], number)))


def message_of(loader):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # torch's own, of several types
        list(loader)
    text = plain_message(caught.value)
    # torch tells of the dead worker again when the others end, wherever this process is by then: let them end here.
    with contextlib.suppress(RuntimeError):
        loader._iterator._shutdown_workers()
    return text


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
# torch looks every five seconds whether a fork server's worker lives.
@pytest.mark.parametrize("method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["images", "depth"])
def test_the_sample_at_which_a_worker_dies_is_named(diode_sets, kind, method, number):
    opened = diode_sets[0]
    victim = int(epoch_order(opened.shard_sizes, 0, 0)[13])  # the second of its batch
    if kind == "images":
        dataset = ImageDataset([opened])
        dataset._readers = [make_deadly(reader, victim, number) for reader in dataset._readers]
    else:
        dataset = DiodeDepthDataset(opened, augment=PairedAugment(height=33, width=33), shuffle=True)
        dataset._reader = make_deadly(dataset._reader, victim, number)
    loading = Loading(batch_size=4, num_workers=2, start_method=method, preload=PRELOAD)
    collate_fn = list if kind == "images" else None
    text = message_of(build_loader(dataset, TrainSampler(40, 4, dataset.prepare), loading, collate_fn))
    row = opened.index.iloc[victim]
    assert re.match(
        rf"a loader worker \(pid \d+\) was killed \(signal.*\) while decoding shard shards/{row['shard']}, "
        rf"key {row['key']}; the usual cause is that memory ran out",
        text,
    ), text


class Refuses:
    """A transform that kills its process at the views of one image."""

    def __init__(self, victim):
        self.victim = victim

    def __call__(self, item):
        if item["image"].tobytes() == self.victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_worker_that_dies_of_views_names_their_key(diode_sets):
    images = ImageDataset([diode_sets[0]])
    victim = images[0, 5]
    views = ViewDataset(images, Refuses(victim.image.tobytes()))
    loading = Loading(batch_size=4, num_workers=1, preload=PRELOAD)
    text = message_of(build_loader(views, TrainSampler(40, 4, images.prepare), loading, list))
    assert f") while making views of key {victim.key}; " in text


class Held:
    """A web server over a folder whose answer to one range waits until it is released."""

    def __init__(self, root):
        self.root, self.range, self.released = root, None, False

    def __call__(self, handler):
        data = Path(self.root, handler.path.lstrip("/").partition("?")[0])
        while handler.headers.get("range") == self.range and self.range and not self.released:
            time.sleep(0.05)
        if not data.is_file():
            answer(handler, 404)
        elif handler.headers.get("range"):
            answer_range(handler, data.read_bytes())
        else:
            answer(handler, 200, data.read_bytes())


@pytest.fixture
def held(diode_sets):
    """A server that holds back the range of one row, and the set behind it."""
    respond = Held(diode_sets[0].url)
    row = diode_sets[0].index.iloc[int(epoch_order(diode_sets[0].shard_sizes, 0, 0)[9])]
    with web_server(respond) as server:
        opened = ShardSet(server.url)
        respond.range = f"bytes={row['image_offset']}-{row['image_offset'] + row['image_bytes'] - 1}"
        yield respond, opened, row
        respond.released = True


def wait_for_note(loader, text):
    """Wait until a worker notes something; return its process id."""
    whereabouts = loader.worker_init_fn.keywords["whereabouts"]
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for pid, noted in whereabouts.read().items():
            if noted == text:
                return pid
        time.sleep(0.05)
    raise AssertionError(f"no worker noted {text!r}: {whereabouts.read()}")


@pytest.mark.slow
def test_a_worker_killed_while_it_waits_for_a_sample_names_it(held):
    """Its process is the fork server's child, whose death nobody tells the trainer of."""
    _, opened, row = held
    images = ImageDataset([opened])
    loader = build_loader(images, TrainSampler(40, 4, images.prepare), Loading(batch_size=4, num_workers=2), list)
    batches = iter(loader)
    assert len(next(batches)) == len(next(batches)) == 4
    reading = f"reading shard shards/{row['shard']}, key {row['key']}"
    pid = wait_for_note(loader, reading)
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    text = message_of(batches)
    assert time.monotonic() - begin < 30
    assert f"a loader worker (pid {pid}) was killed (signal not known) while {reading}; " in text


def test_every_limit_of_a_wait_is_beyond_those_that_it_has_to_outlast():
    limits, retries = TimeLimits(), RetryPolicy()
    # One attempt that ends just before the deadline of the retries, after which another begins.
    read_s = limits.request_s + retries.deadline_s + limits.request_s
    assert read_s < WAIT_S
    assert timedelta(seconds=WAIT_S) < GROUP_TIMEOUT
    assert Loading(batch_size=1).timeout_s == 0
