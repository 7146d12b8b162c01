import email.utils
import pickle

import pytest

from sharding.errors import DataError
from sharding.stores.retry import ReadFailed, RetryingStore, RetryPolicy
from sharding.stores.retry_after import parse_retry_after

POLICY = RetryPolicy(attempts=5, deadline_s=60, first_pause_s=1, longest_pause_s=4)


class Clock:
    """Time that passes only by sleeping, or by what a test says a request takes."""

    def __init__(self):
        self.time, self.slept = 0.0, []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


class Scripted:
    """A store of bytes 0, 1, 2, ... that fails as a test says; it notes what was asked for."""

    def __init__(self, clock, failures, request_s=0.0):
        self.clock, self.failures, self.request_s, self.asked = clock, list(failures), request_s, []

    def read(self, name, ranges):
        self.asked.append(list(ranges))
        self.clock.time += self.request_s
        found = [bytes(range(start, start + length)) for start, length in ranges]
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, set):  # the ranges that do not come
            came = [None if at in failure else data for at, data in enumerate(found)]
            raise ReadFailed("b/x, bytes 0-1", "status 500", found=came)
        if failure is not None:
            raise failure
        return found

    def read_all(self, name):
        return self.read(name, [(0, 9)])[0]

    def size(self, name):
        return len(self.read_all(name))

    def invalidate(self, name, ranges):
        return True


def failed(wait_s=None):
    return ReadFailed("s3://b/x, bytes 0-1", "status 503 SlowDown", wait_s=wait_s)


def retrying(failures, policy=POLICY, request_s=0.0):
    clock = Clock()
    store = Scripted(clock, failures, request_s)
    return RetryingStore(store, policy, clock), store, clock


def test_only_what_did_not_come_is_asked_for_again():
    store, inner, _ = retrying([{1, 3}, {0}])
    assert store.read("x", [(0, 2), (4, 2), (8, 1), (9, 3)]) == [b"\0\1", b"\4\5", b"\10", b"\t\n\13"]
    assert inner.asked == [[(0, 2), (4, 2), (8, 1), (9, 3)], [(4, 2), (9, 3)], [(4, 2)]]


def test_a_whole_object_and_a_size_are_asked_for_again():
    store, _, clock = retrying([failed(), failed()])
    assert store.read_all("x") == bytes(range(9))
    assert store.size("x") == 9
    assert len(clock.slept) == 2


def test_pauses_double_with_a_random_part_up_to_the_longest():
    longest = [1, 2, 4, 4]
    drawn = [retrying([failed()] * 4) for _ in range(200)]
    slept = []
    for store, _, clock in drawn:
        store.read("x", [(0, 1)])
        slept.append(clock.slept)
    for at, top in enumerate(longest):
        column = [one[at] for one in slept]
        assert all(top / 2 <= pause <= top for pause in column)
        assert max(column) - min(column) > top / 4


def test_the_last_attempt_is_an_error_that_says_all():
    store, inner, clock = retrying([failed()] * 9)
    with pytest.raises(DataError) as error:
        store.read("x", [(0, 2)])
    assert len(inner.asked) == 5
    assert str(error.value) == (
        f"s3://b/x, bytes 0-1: expected to read it, but 5 attempts in {clock.time:.1f} s failed, the last with: "
        "status 503 SlowDown; run again when the network or the server is back"
    )
    assert not isinstance(error.value, ReadFailed)


def test_no_attempt_begins_when_the_first_failure_is_a_deadline_ago():
    store, inner, clock = retrying([failed()] * 99, RetryPolicy(attempts=99, deadline_s=60), request_s=25)
    with pytest.raises(DataError, match="failed, the last with"):
        store.read("x", [(0, 2)])
    assert len(inner.asked) == 4
    assert clock.time <= 25 + 60 + 25


def test_a_long_attempt_is_tried_again():
    store, inner, _ = retrying([failed()], RetryPolicy(deadline_s=60), request_s=1000)
    store.read_all("x")
    assert len(inner.asked) == 2


@pytest.mark.parametrize("action", [lambda store: store.read("x", [(0, 1)]), lambda store: store.read_all("x")])
def test_the_servers_wish_is_honoured(action):
    store, _, clock = retrying([failed(wait_s=30)])
    action(store)
    assert clock.slept == [30]


def test_a_wish_beyond_the_deadline_is_an_error_at_once():
    store, inner, clock = retrying([failed(wait_s=3600)])
    with pytest.raises(DataError, match=r"1 attempt in 0\.0 s failed.*; the server asks to wait 3600 s"):
        store.read("x", [(0, 1)])
    assert (len(inner.asked), clock.slept) == (1, [])


def test_what_cannot_pass_is_not_tried_again():
    store, inner, clock = retrying([DataError("gone")])
    with pytest.raises(DataError, match=r"^gone$"):
        store.read("x", [(0, 1)])
    assert (len(inner.asked), clock.slept) == (1, [])


def test_no_ranges_are_no_request():
    store, inner, _ = retrying([])
    assert store.read("x", []) == []
    assert inner.asked == []


def test_the_error_of_a_worker_process_arrives():
    error = pickle.loads(pickle.dumps(failed()))
    assert type(error) is DataError
    assert "bytes 0-1: expected to read it, but: status 503 SlowDown; run again" in str(error)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        (email.utils.formatdate(NOW + 45, usegmt=True), 45),
        (email.utils.formatdate(NOW - 45, usegmt=True), 0),
        ("", None),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds
