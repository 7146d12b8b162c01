"""Reading ahead in one process: real sets and threads, around a store that can be watched, blocked and made to err."""

import os
import pickle
import threading

import pytest
import torch

from sharding.errors import DamagedSample, DataError
from sharding.reading.reader import REREADS
from sharding.reading.shard_set import ShardSet
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.loader import Loading, ahead_bytes, build_loader
from training.loading.read_ahead import AHEAD_BYTES, ReadAhead
from training.loading.sampler import EvalSampler, TrainSampler

SOON_S = 30.0  # for what happens at once on an idle machine


class WatchedStore:
    """A local store behind a gate; keeps what was asked for, and damages what it is told to, so many times.

    A closed gate blocks the requests for ranges in `gated`; None: all requests.
    """

    def __init__(self, inner, may_change=True):
        self._inner, self._may_change = inner, may_change
        self._changed = threading.Condition()
        self.asked, self.forgotten, self.damage, self.holds = [], [], {}, set()
        self.gate, self.gated = threading.Event(), None
        self.gate.set()

    def read(self, name, ranges):
        with self._changed:
            self.asked += [(name, *span) for span in ranges]
            self._changed.notify_all()
        if self.gated is None or not self.gated.isdisjoint((name, *span) for span in ranges):
            assert self.gate.wait(SOON_S)
        found = self._inner.read(name, ranges)
        for at, span in enumerate(ranges):
            if self.damage.get((name, *span), 0) > 0:
                self.damage[name, *span] -= 1
                found[at] = bytes([found[at][0] ^ 1]) + found[at][1:]
        return found

    def is_cached(self, name, ranges):
        return self.holds >= {(name, *span) for span in ranges}

    def invalidate(self, name, ranges):
        self.forgotten += [(name, *span) for span in ranges]
        return self._may_change

    def await_requests(self, expected):
        """Wait until all of `expected` were asked for."""
        wanted = set(expected)
        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= set(self.asked), SOON_S)

    @property
    def bytes(self):
        return sum(length for _, _, length in self.asked)


class Watched:
    """A training loader in this process over a set whose store is watched; batches of two."""

    def __init__(self, url, limit_bytes, *, images=False, may_change=True, wait_s=SOON_S):
        self.set = ShardSet(url)
        self.store = WatchedStore(self.set.reader.store, may_change)
        self.parts = ("image",) if images else ("image", "depth", "valid")
        self.plain = ImageDataset([self.set], seed=5) if images else DiodeDepthDataset(self.set, seed=5, shuffle=True)
        reader = self.plain._readers[0] if images else self.plain._reader
        reader._store = os.getpid(), self.store
        self.sampler = TrainSampler(len(self.set), 4)
        self.ahead = ReadAhead(lambda: self.sampler.upcoming(2), limit_bytes, threads=4, wait_s=wait_s)
        self.dataset = self.plain.reading_ahead(self.ahead)
        self.batches = [list(self.sampler)[at : at + 2] for at in range(0, len(self.sampler), 2)]

    def ranges(self, batch):
        """(shard, offset, length) of each request for a batch."""
        rows = [self.plain._order.at(*position)[0] for position in batch]
        names = [self.set.manifest.shards[int(self.set.reader.columns["shard"][row])].name for row in rows]
        return [
            (name, *span)
            for name, row in zip(names, rows, strict=True)
            for span in self.set.reader.ranges(row, self.parts)
        ]

    def size(self, batches):
        return sum(length for batch in batches for _, _, length in self.ranges(batch))


@pytest.fixture
def watch(diode_sets):
    def make(limit_bytes=AHEAD_BYTES, **options):
        return Watched(diode_sets[0].url, limit_bytes, **options)

    return make


def same(one, other):
    assert [item["key"] for item in one] == [item["key"] for item in other]
    return all(torch.equal(a[part], b[part]) for a, b in zip(one, other, strict=True) for part in ("image", "depth"))


@pytest.mark.parametrize("limit", [1, 60_000, AHEAD_BYTES])
def test_batches_are_those_that_are_read_directly(diode_sets, limit):
    augment = PairedAugment(height=32, width=48)
    made = []
    for bytes_ahead in (0, limit):
        dataset = DiodeDepthDataset(diode_sets[0], augment=augment, seed=3, shuffle=True)
        sampler = TrainSampler(len(dataset), 6, dataset.prepare)
        loader = build_loader(dataset, sampler, Loading(batch_size=3, ahead_bytes=bytes_ahead))
        taken = []
        for epoch, consumed in ((0, 0), (1, 0), (2, 12)):
            sampler.resume(epoch, consumed)
            taken += list(loader)
        made.append(taken)
    assert len(made[0]) == len(made[1]) == 12 + 12 + 8
    assert same(*made)


def test_a_mixture_of_sets_and_an_evaluation_are_the_same_too(diode_sets, megadepth_set):
    drawn = []
    for bytes_ahead in (0, 100_000):
        images = ImageDataset([diode_sets[0], megadepth_set], [1, 3], seed=2)
        loading = Loading(batch_size=4, ahead_bytes=bytes_ahead)
        loader = build_loader(images, TrainSampler(len(images), 8), loading, collate_fn=list)
        paired = DiodeDepthDataset(diode_sets[1])
        evaluated = build_loader(paired, EvalSampler(len(paired), 3), Loading(batch_size=3, ahead_bytes=bytes_ahead))
        pictures = [(draw.key, draw.seed, draw.image.tobytes()) for batch in loader for draw in batch]
        drawn.append((pictures, [(item["key"], item["depth"].sum().item()) for item in evaluated]))
    assert drawn[0] == drawn[1]
    assert len(drawn[0][0]) >= 56


def test_the_next_batches_are_asked_for_before_the_loader_asks(watch):
    seen = watch()
    first = seen.dataset.__getitems__(seen.batches[0])
    seen.store.await_requests(span for batch in seen.batches for span in seen.ranges(batch))  # all fit the bound
    asked = list(seen.store.asked)
    assert sorted(asked) == sorted(span for batch in seen.batches for span in seen.ranges(batch))
    rest = [seen.dataset.__getitems__(batch) for batch in seen.batches[1:]]
    assert seen.store.asked == asked  # nothing twice
    expected = [seen.plain.__getitems__(batch) for batch in seen.batches]
    assert all(same(one, other) for one, other in zip([first, *rest], expected, strict=True))


def test_requests_go_out_in_the_order_of_use_while_the_first_batch_is_held_up(watch):
    seen = watch()
    seen.store.gate.clear()
    taker = threading.Thread(target=seen.dataset.__getitems__, args=(seen.batches[0],))
    taker.start()
    seen.store.await_requests(seen.ranges(seen.batches[0]) + seen.ranges(seen.batches[1]))  # four threads
    assert set(seen.store.asked) == {*seen.ranges(seen.batches[0]), *seen.ranges(seen.batches[1])}
    seen.store.gate.set()
    taker.join(SOON_S)
    assert not taker.is_alive()


@pytest.mark.parametrize("images", [False, True])
def test_the_bytes_in_flight_keep_to_the_bound_and_use_it(watch, images):
    everything = watch(images=images)
    limit = everything.size(everything.batches) // 4
    largest = max(everything.size([batch]) for batch in everything.batches)
    seen = watch(limit, images=images)
    for number, batch in enumerate(seen.batches):
        seen.dataset.__getitems__(batch)
        wait_for_answers(seen)
        untaken = seen.store.bytes - seen.size(seen.batches[: number + 1])
        assert untaken == seen.ahead.bytes_in_flight <= limit
        left = seen.size(seen.batches[number + 1 :])
        assert untaken == left or untaken > limit - largest
    assert seen.store.bytes == seen.size(seen.batches)


def wait_for_answers(seen):
    """Wait until nothing is under way, neither what will be taken nor what is no longer wanted."""
    window = seen.ahead._window[1]
    for request in (*window._requests, *window._unwanted):
        request.answer.result(SOON_S)


def test_a_bound_below_a_sample_still_moves_one_at_a_time(watch):
    seen = watch(1)
    for number, batch in enumerate(seen.batches):
        seen.dataset.__getitems__(batch)
        wait_for_answers(seen)
        waiting = seen.ahead._window[1]._requests
        assert [request.batch for request in waiting] == seen.batches[number + 1 : number + 2]
    assert sorted(seen.store.asked) == sorted(span for batch in seen.batches for span in seen.ranges(batch))


def test_what_is_no_longer_upcoming_is_dropped(watch):
    seen = watch(200_000)
    seen.sampler.set_epoch(1)
    anew = [list(seen.sampler)[at : at + 2] for at in range(0, len(seen.sampler), 2)]
    held = next(batch for batch in seen.batches[1:] if not {*seen.ranges(batch)} & {*seen.ranges(anew[0])})
    seen.store.gated = {*seen.ranges(held)}
    seen.store.gate.clear()
    seen.dataset.__getitems__(seen.batches[0])
    seen.store.await_requests(seen.ranges(held))  # two of the four threads
    seen.dataset.__getitems__(anew[0])  # the iteration was abandoned for another epoch
    window = seen.ahead._window[1]
    for request in window._unwanted:
        if request.batch != held:
            request.answer.result(SOON_S)
    wanted = sum(request.bytes for request in window._requests)
    assert wanted + seen.size([held]) == seen.ahead.bytes_in_flight <= 200_000  # what is under way counts until its end
    seen.store.gate.set()
    wait_for_answers(seen)
    assert {request.batch[0] for request in window._requests} <= {batch[0] for batch in anew}
    assert seen.ahead.bytes_in_flight == wanted
    backwards = seen.dataset.__getitems__(anew[5])  # nobody foresaw that
    assert same(backwards, seen.plain.__getitems__(anew[5]))
    assert window._requests[0].batch == anew[6]


def test_what_is_kept_on_this_machine_is_read_when_its_turn_comes(watch):
    seen = watch()
    kept = [span for batch in seen.batches[1::2] for span in seen.ranges(batch)]
    fetched = [span for batch in seen.batches[::2] for span in seen.ranges(batch)]
    seen.store.holds = set(kept)
    taken = [seen.dataset.__getitems__(seen.batches[0])]
    seen.store.await_requests(fetched)
    assert sorted(seen.store.asked) == sorted(fetched)
    taken.append(seen.dataset.__getitems__(seen.batches[1]))
    assert sorted(seen.store.asked[len(fetched) :]) == sorted(seen.ranges(seen.batches[1]))
    seen.store.holds.clear()  # evicted: it was kept when it was looked for
    taken += [seen.dataset.__getitems__(batch) for batch in seen.batches[2:]]
    assert sorted(seen.store.asked) == sorted(kept + fetched)
    expected = [seen.plain.__getitems__(batch) for batch in seen.batches]
    assert all(same(one, other) for one, other in zip(taken, expected, strict=True))


def test_the_store_is_opened_once_and_not_by_the_threads(watch):
    seen, openers = watch(), []

    def open_slowly():
        openers.append(threading.current_thread())
        threading.Event().wait(0.1)
        return seen.store

    seen.plain._reader._store, seen.plain._reader._open = None, open_slowly
    for batch in seen.batches:
        seen.dataset.__getitems__(batch)
    assert openers == [threading.main_thread()]


def test_damage_on_the_way_is_read_again_by_the_threads(watch):
    seen = watch()
    hurt = seen.ranges(seen.batches[3])[0]
    seen.store.damage[hurt] = 2
    taken = [seen.dataset.__getitems__(batch) for batch in seen.batches]
    assert all(same(one, seen.plain.__getitems__(batch)) for one, batch in zip(taken, seen.batches, strict=True))
    assert seen.store.forgotten == [hurt, hurt]


@pytest.mark.parametrize(("may_change", "reads"), [(True, 1 + REREADS), (False, 1)])
def test_damage_that_stays_stops_at_its_batch_and_says_where(watch, may_change, reads):
    seen = watch(may_change=may_change)
    hurt = seen.ranges(seen.batches[3])[0]
    seen.store.damage[hurt] = 1000
    for batch in seen.batches[:3]:
        seen.dataset.__getitems__(batch)
    wait_for_failure(seen)
    key = seen.set.reader.key(seen.plain._order.at(*seen.batches[3][0])[0])
    with pytest.raises(DataError, match=f"^shard {hurt[0]}, key {key}: member {key}.*expected crc32c"):
        seen.dataset.__getitems__(seen.batches[3])
    assert seen.store.asked.count(hurt) == reads
    assert same(seen.dataset.__getitems__(seen.batches[4]), seen.plain.__getitems__(seen.batches[4]))


def wait_for_failure(seen):
    answers = [request.answer.result(SOON_S) for request in seen.ahead._window[1]._requests]
    assert sum(isinstance(one, DamagedSample) for found in answers for one in found) == 1


def test_a_wait_has_a_limit_and_says_what_for(watch):
    seen = watch(wait_s=0.2)
    seen.store.gate.clear()
    keys = "|".join(seen.set.reader.key(seen.plain._order.at(*position)[0]) for position in seen.batches[0])
    with pytest.raises(DataError, match=rf"^shard shards/.*, key ({keys}).*: waited 0.2 s for \d+ bytes .* --resume"):
        seen.dataset.__getitems__(seen.batches[0])
    seen.store.gate.set()


def test_samples_that_touch_are_read_by_one_call(watch):
    reader = watch().set.reader
    rows = [3, 0, 2, 1, 39, 1]  # the first four stand in one shard in this order
    groups = reader.group_touching(rows, ("image", "depth", "valid"))
    assert sorted(at for group in groups for at in group) == list(range(6))
    assert [1, 3] in groups or [1, 5] in groups
    assert [2, 0] in [group[-2:] for group in groups]
    assert [4] in groups
    assert sorted(reader.group_touching(rows, ("image",))) == [[0], [1], [2], [3], [4], [5]]


def test_a_pickled_one_knows_what_lay_ahead_when_it_left(watch):
    seen = watch(77_000)
    seen.dataset.__getitems__(seen.batches[0])
    there = pickle.loads(pickle.dumps(seen.ahead))
    assert (there.limit_bytes, there.bytes_in_flight) == (77_000, 0)
    assert there._plan() == seen.sampler.upcoming(2)


def test_local_sets_are_not_read_ahead_unless_asked(diode_sets):
    dataset = DiodeDepthDataset(diode_sets[0], shuffle=True)
    assert ahead_bytes(dataset, Loading(batch_size=1)) == 0
    assert ahead_bytes(dataset, Loading(batch_size=1, ahead_bytes=5)) == 5
    assert build_loader(dataset, TrainSampler(40, 1), Loading(batch_size=1)).dataset is dataset
    far = DiodeDepthDataset(diode_sets[0], shuffle=True)
    far._reader.url = "s3://bucket/set"
    assert ahead_bytes(far, Loading(batch_size=1)) == AHEAD_BYTES
    assert ahead_bytes(far, Loading(batch_size=1, ahead_bytes=0)) == 0
