import email.utils
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from sharding.errors import DataError
from sharding.stores.client import TimeLimits
from sharding.stores.opening import open_store
from sharding.stores.remote import RemoteStore
from sharding.stores.retry import RetryingStore, RetryPolicy
from tests import servers
from tests.sharding.stores.test_retry import Clock
from tests.sharding.tarballs import payload

DATA = payload(2_000_000, 3)
NAME = "shards/a.tar"
QUICK = RetryPolicy(attempts=8, first_pause_s=0.01, longest_pause_s=0.05)
RANGES = [(start, 60_000) for start in range(0, 1_900_000, 100_000)]
IMPATIENT = TimeLimits(stall_s=1)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A real S3 server that holds `DATA` as s3://bucket/set/shards/a.tar."""
    root = tmp_path_factory.mktemp("buckets")
    path = root / "bucket" / "set" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    with servers.localbucket(root) as server:
        server.path = path
        yield server


@pytest.fixture
def reach(monkeypatch):
    """Makes the environment lead to an S3 server."""

    def lead(url, **more):
        for name, value in (servers.s3_variables(url) | more).items():
            monkeypatch.setenv(name, value)

    return lead


@pytest.fixture
def through(bucket, reach):
    """Opens the bucket through a link with the given options; gives a store and the link."""

    @contextmanager
    def open_link(*options, policy=QUICK, clock=None, limits=None):
        with servers.link(bucket.port, *options) as link:
            reach(link.url)
            yield RetryingStore(RemoteStore("s3://bucket/set", limits=limits), policy, clock), link

    return open_link


def assert_whole(store):
    assert store.read(NAME, RANGES) == [DATA[start : start + length] for start, length in RANGES]


TRANSIENT = {
    "500": r"status 500 InternalError \(by unreliable_link\)",
    "503": r"status 503 SlowDown \(by unreliable_link\)",
    "429": r"status 429 TooManyRequests \(by unreliable_link\)",
    "refuse": r"(the connection broke: Connection reset by peer|the connection closed before an answer) \(server .*\)",
    "reset": r"the connection broke: Connection reset by peer \(server http://127\.0\.0\.1:\d+\)",
    "truncate": r"the connection broke \(server .*\)",
    "shorten": "received 30000 of 60000 bytes",
    "stall": r"the request timed out before the whole answer arrived \(server .*\)",
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_is_survived_with_the_exact_bytes(through, fault):
    options = ("--fault-rate", 1, "--first", 3, "--faults", fault, "--retry-after", 0, "--stall-s", 20)
    with through(*options, limits=IMPATIENT if fault == "stall" else None) as (store, link):
        assert_whole(store)
        assert link.counts["faults"] == {fault: 3}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_stays_is_an_error_that_says_all(through, fault):
    options = ("--fault-rate", 1, "--faults", fault, "--retry-after", 0, "--stall-s", 20)
    policy, limits = RetryPolicy(attempts=2, first_pause_s=0.01), IMPATIENT if fault == "stall" else None
    with through(*options, policy=policy, limits=limits) as (store, _), pytest.raises(DataError) as error:
        store.read(NAME, [(100_000, 60_000)])
    assert re.fullmatch(
        r"s3://bucket/set/shards/a\.tar, bytes 100000-159999: expected to read it, but 2 attempts in \d+\.\d s failed, "
        rf"the last with: ({TRANSIENT[fault]}); run again when the network or the server is back",
        str(error.value),
    )
    assert error.value.__cause__ is None  # the client's own text is not shown


def test_many_faults_at_once_are_survived(through):
    faults = "500,503,429,refuse,reset,truncate,shorten"
    options = ("--fault-rate", 0.3, "--faults", faults, "--retry-after", 0, "--seed", 2, "--latency-ms", 1)
    with through(*options) as (store, link):
        for _ in range(4):
            assert_whole(store)
        assert len(link.counts["faults"]) >= 5
        assert store.read_all(NAME) == DATA
        assert store.size(NAME) == len(DATA)


def test_a_damaged_byte_comes_through_and_may_be_read_again(through):
    with through("--fault-rate", 1, "--first", 1, "--faults", "corrupt") as (store, _):
        (damaged,) = store.read(NAME, [(0, 1000)])
        assert damaged == DATA[:500] + bytes([DATA[500] ^ 0x55]) + DATA[501:1000]
        assert store.invalidate(NAME, [(0, 1000)])
        assert store.read(NAME, [(0, 1000)]) == [DATA[:1000]]


@pytest.mark.parametrize("wish", ["7", "date"])
def test_the_servers_wish_to_be_left_alone_is_honoured(through, wish):
    value = email.utils.formatdate(time.time() + 100, usegmt=True) if wish == "date" else wish
    clock = Clock()
    options = ("--fault-rate", 1, "--first", 2, "--faults", "429", "--retry-after", value)
    with through(*options, clock=clock) as (store, link):
        store.read(NAME, [(0, 10)])
        assert len(clock.slept) == 1
        assert clock.slept[0] == 7 if wish == "7" else 60 < clock.slept[0] <= 100
        assert link.counts["requests"] == 3  # refused, asked for the header, read


def test_a_server_that_states_no_wish_is_asked_for_it_once(through):
    options = ("--fault-rate", 1, "--first", 6, "--faults", "503", "--retry-after", 0)
    clock = Clock()
    with through(*options, clock=clock) as (store, link):
        store.read(NAME, [(0, 10)])
        assert len(clock.slept) == 5  # the sixth refusal was of the question
        assert link.counts["requests"] == 7


def test_one_request_asks_for_the_wish_on_behalf_of_all(through):
    clock = Clock()
    options = ("--fault-rate", 1, "--first", 17, "--faults", "429", "--retry-after", 60)
    with through(*options, clock=clock) as (store, link):
        store.read(NAME, [(1000 * at, 500) for at in range(16)])
        assert link.counts["requests"] == 16 + 1 + 16
        assert clock.slept == [60]


def test_refused_credentials_are_an_error_at_once(through):
    with through("--fault-rate", 1, "--faults", "403") as (store, link):
        with pytest.raises(DataError) as error:
            store.read(NAME, [(0, 10)])
        assert str(error.value) == (
            "s3://bucket/set/shards/a.tar, bytes 0-9: expected to read it, but: status 403 ExpiredToken "
            "(by unreliable_link); the credentials have expired: get new ones (with SSO: `aws sso login`) and run again"
        )
        assert link.counts["requests"] == 1


def test_a_missing_object_and_a_missing_bucket_are_errors_at_once(through):
    with through() as (store, link):
        with pytest.raises(
            DataError, match=r"s3://bucket/set/b\.tar, bytes 0-9: .* status 404 NoSuchKey .*check the ad"
        ):
            store.read("b.tar", [(0, 10)])
        assert store.size("b.tar") is None
        assert link.counts["requests"] == 2
        with pytest.raises(DataError, match=r"status 404 NoSuchBucket .*there is no such bucket"):
            open_store("s3://nobucket/set").read_all("manifest.json")


def test_a_server_that_dies_and_comes_back_is_waited_for(tmp_path, reach):
    path = tmp_path / "bucket" / "x"
    path.parent.mkdir()
    path.write_bytes(DATA)
    with servers.localbucket(tmp_path) as server:
        reach(f"http://127.0.0.1:{server.port}")
        store = RetryingStore(RemoteStore("s3://bucket"), RetryPolicy(first_pause_s=0.05))
        assert store.read("x", [(5, 5)]) == [DATA[5:10]]
        server.kill()
        again = threading.Timer(0.5, server.start)
        again.start()
        try:
            assert store.read("x", RANGES) == [DATA[start : start + length] for start, length in RANGES]
        finally:
            again.join(30)
        server.kill()
        few = RetryingStore(RemoteStore("s3://bucket"), RetryPolicy(attempts=3, first_pause_s=0.01))
        with pytest.raises(
            DataError, match=r"3 attempts in .* the last with: no connection: Connection refused .server http://127"
        ):
            few.read("x", [(0, 10)])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: path.write_bytes(DATA[::-1]), "the object changed while it was read: .*ETag"),
        (lambda path: path.write_bytes(DATA[:1000]), "the object changed while it was read: "),
        (lambda path: path.unlink(), "the object changed while it was read: it no longer exists; start again"),
    ],
)
def test_an_object_replaced_while_it_is_read_is_an_error(bucket, reach, change, problem):
    reach(f"http://127.0.0.1:{bucket.port}")
    store = open_store("s3://bucket/set")
    try:
        assert_whole(store)
        change(bucket.path)
        with pytest.raises(DataError, match=rf"^s3://bucket/set/shards/a\.tar: {problem}"):
            store.read(NAME, RANGES)
    finally:
        bucket.path.write_bytes(DATA)


@pytest.mark.parametrize("span", [(0, 100), (1_999_950, 100), (5_000_000, 100)])
def test_an_object_of_another_size_than_the_manifests_is_an_error(bucket, reach, span):
    reach(f"http://127.0.0.1:{bucket.port}")
    for wrong in (len(DATA) + 1, len(DATA) - 1):
        store = open_store("s3://bucket/set", expected_bytes={NAME: wrong})
        with pytest.raises(DataError, match=rf"expected {wrong} bytes, as the manifest says, found {len(DATA)}: "):
            store.read(NAME, [span])
    right = open_store("s3://bucket/set", expected_bytes={NAME: len(DATA)})
    assert_whole(right)
    if sum(span) > len(DATA):
        with pytest.raises(DataError, match=r"the object is shorter|the object ends after 2000000 bytes"):
            right.read(NAME, [span])


def test_a_server_that_checks_signatures_is_read_through_a_bad_link(tmp_path, reach):
    path = tmp_path / "bucket" / "set" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    options = ("--fault-rate", 0.4, "--faults", "500,reset,429", "--retry-after", 0, "--seed", 1)
    with servers.nanio(tmp_path) as server:
        with servers.link(server.port, *options) as link:
            reach(link.url)
            store = RetryingStore(RemoteStore("s3://bucket/set", {NAME: len(DATA)}), QUICK)
            assert_whole(store)
            assert set(link.counts["faults"]) == {"500", "reset", "429"}
        plain = f"http://127.0.0.1:{server.port}"
        reach(plain, AWS_SECRET_ACCESS_KEY="another-secret-than-that")
        with pytest.raises(DataError) as error:
            open_store("s3://bucket/set").read(NAME, [(0, 10)])
        assert "status 403 SignatureDoesNotMatch" in str(error.value)
        assert "the secret does not belong to the access key: check AWS_SECRET_ACCESS_KEY" in str(error.value)
        assert not any(secret in str(error.value) for secret in ("another-secret", servers.ACCESS_KEY, servers.SECRET))
        reach(plain, AWS_ACCESS_KEY_ID="AKIANOBODYATALL")
        with pytest.raises(DataError, match=r"status 403 InvalidAccessKeyId.*does not know the access key") as error:
            open_store("s3://bucket/set").read(NAME, [(0, 10)])
        assert "AKIANOBODYATALL" not in str(error.value)


def test_a_server_that_never_answers_is_given_up(tmp_path):
    silent = threading.Event()
    with servers.web_server(lambda handler: silent.wait(30)) as server:
        store = RetryingStore(RemoteStore(f"{server.url}/set", limits=IMPATIENT), RetryPolicy(attempts=2))
        began = time.monotonic()
        with pytest.raises(
            DataError, match=r"a\.tar, bytes 0-9: .* 2 attempts .* the last with: the request timed out"
        ):
            store.read("a.tar", [(0, 10)])
        assert 2 <= time.monotonic() - began < 15
        silent.set()


@pytest.mark.slow
def test_a_server_that_trickles_is_given_up(tmp_path):
    def trickle(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-999/1000")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.1)

    with servers.web_server(trickle) as server:
        limits = TimeLimits(stall_s=1, request_s=2)
        store = RetryingStore(RemoteStore(f"{server.url}/set", limits=limits), RetryPolicy(attempts=1))
        with pytest.raises(DataError, match=r"a\.tar, bytes 0-999: .* 1 attempts? in [2-4]\.\d s failed"):
            store.read("a.tar", [(0, 1000)])


def trickle_for(seconds):
    def respond(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(10):
                handler.wfile.write(b"0123456789")
                handler.wfile.flush()
                time.sleep(seconds / 10)

    return respond


@pytest.mark.slow
def test_a_whole_object_may_take_longer_than_a_range():
    with servers.web_server(trickle_for(3)) as server:
        limits = TimeLimits(stall_s=2, request_s=1, whole_s=30)
        assert RemoteStore(f"{server.url}/set", limits=limits).read_all("a.tar") == b"0123456789" * 10
        with pytest.raises(DataError, match="timed out before the whole answer arrived"):
            RemoteStore(f"{server.url}/set", limits=replace(limits, whole_s=1)).read_all("a.tar")


@pytest.mark.slow
def test_a_process_that_ends_does_not_wait_for_ranges_that_hang():
    gate = threading.Event()
    with servers.web_server(lambda handler: gate.wait(60)) as server:
        script = (
            "import sys, threading, time\nfrom sharding.stores.opening import open_store\n"
            f"store = open_store({server.url!r})\n"
            "read = lambda: store.read('x', [(0, 5), (100, 5)])\n"
            "threading.Thread(target=read, daemon=True).start()\n"
            "time.sleep(1)\nprint('at the end', flush=True)\n"
        )
        began = time.monotonic()
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (run.returncode, run.stdout) == (0, "at the end\n"), run.stderr
        assert len(server.seen) == 2
        assert time.monotonic() - began < 12  # a request is given up after 15 s
        gate.set()
