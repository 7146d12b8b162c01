import asyncio
import http.client
import json
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from scripts.unreliable_link import FAULTS, STATUS_FAULTS, Link, Proxy
from tests import servers
from tests.sharding.tarballs import payload

DATA = payload(3_000_000, 9)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A real S3 server that holds `DATA` as /bucket/x."""
    root = tmp_path_factory.mktemp("buckets")
    (root / "bucket").mkdir()
    (root / "bucket" / "x").write_bytes(DATA)
    with servers.localbucket(root) as server:
        yield server


def ask(connection, path="/bucket/x", method="GET", body=None, **headers):
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()


def connect(link):
    return http.client.HTTPConnection(urlsplit(link.url).netloc, timeout=20)


def test_requests_pass_as_they_are_over_one_connection(bucket):
    with servers.link(bucket.port) as link:
        connection = connect(link)
        for first, last in ((0, 9), (5, 1_000_004), (2_999_999, 2_999_999)):
            answer, body = ask(connection, Range=f"bytes={first}-{last}")
            assert (answer.status, body) == (206, DATA[first : last + 1])
        answer, body = ask(connection, method="HEAD")
        assert (answer.headers["Content-Length"], body) == (str(len(DATA)), b"")
        assert ask(connection, "/bucket/y", "PUT", DATA)[0].status == 200
        assert ask(connection, "/bucket/y")[1] == DATA
        assert ask(connection, "/bucket/none")[0].status == 404
        assert ask(connection, "/bucket?list-type=2")[1].count(b"<Key>") == 2
        assert link.counts["requests"] == 8
        assert link.counts["body_bytes"] > 1_000_011 + 2 * len(DATA)


def harmed(link):
    """What a client sees of a fault: the status and what came of the body."""
    connection = connect(link)
    try:
        answer, body = ask(connection)
        return answer.status, body
    except http.client.IncompleteRead as error:
        return "closed", error.partial
    except (http.client.RemoteDisconnected, ConnectionResetError) as error:
        return type(error).__name__, b""
    finally:
        connection.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_what_it_says_and_then_all_is_well(bucket, fault):
    options = ("--fault-rate", 1, "--first", 1, "--faults", fault, "--stall-s", 0.1, "--retry-after", 9)
    with servers.link(bucket.port, *options) as link:
        status, body = harmed(link)
        half = len(DATA) // 2
        if fault in STATUS_FAULTS:
            assert status == int(fault)
            assert STATUS_FAULTS[fault][1].encode() in body
        elif fault in ("truncate", "stall"):
            assert (status, body) == ("closed", DATA[:half])
        elif fault == "shorten":
            assert (status, body) == (200, DATA[:half])
        elif fault == "corrupt":
            assert (status, body) == (200, DATA[:half] + bytes([DATA[half] ^ 0x55]) + DATA[half + 1 :])
        else:
            assert status == "ConnectionResetError"
        assert ask(connect(link))[1] == DATA
        assert link.counts["faults"] == {fault: 1}


def test_a_refusal_says_when_to_come_back(bucket):
    with servers.link(bucket.port, "--fault-rate", 1, "--faults", "429,503", "--retry-after", 9) as link:
        answer, _ = ask(connect(link))
        assert answer.headers["Retry-After"] == "9"


def draw(seed, rate, count=4000):
    proxy = Proxy(Link(to=("", 0), fault_rate=rate, faults=("500", "reset"), seed=seed, only="/shards/"))
    return [proxy._draw(b"GET /bucket/shards/x HTTP/1.1\r\n") for _ in range(count)]


def test_the_seed_decides_and_the_rate_is_kept():
    assert draw(1, 0.05) == draw(1, 0.05)
    assert draw(1, 0.05) != draw(2, 0.05)
    for fault in ("500", "reset"):
        assert 0.015 < draw(3, 0.05).count(fault) / 4000 < 0.035
    assert set(draw(1, 0.0)) == {""}


def test_only_the_requests_that_were_named_are_harmed(bucket):
    with servers.link(bucket.port, "--fault-rate", 1, "--only", "/none") as link:
        assert ask(connect(link))[1] == DATA
        assert ask(connect(link), "/bucket/none")[0].status == 500


class Loop:
    """An event loop's time, for a pace that needs no waiting."""

    def __init__(self):
        self.now = 0.0

    def time(self):
        return self.now


def test_all_connections_share_the_bandwidth(monkeypatch):
    loop, slept = Loop(), []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    proxy = Proxy(Link(to=("", 0), bandwidth=1000.0))
    for num_bytes in (500, 500, 1000):
        _run(proxy._pace(num_bytes))
    loop.now = 10.0
    _run(proxy._pace(100))
    assert slept == pytest.approx([0.5, 1.0, 2.0, 0.1])


def _run(coroutine):
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_latency_and_bandwidth_are_lower_bounds_on_time(bucket):
    with servers.link(bucket.port, "--latency-ms", 100, "--bandwidth", "2MB") as link:
        connection = connect(link)
        start = time.monotonic()
        assert ask(connection, Range="bytes=0-999999")[1] == DATA[:1_000_000]
        assert time.monotonic() - start >= 0.1 + 0.5 - 0.02


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--to", "nowhere"], "expected HOST:PORT"),
        (["--to", "h:1", "--faults", "500,x"], "found 'x'"),
        (["--to", "h:1", "--bandwidth", "fast"], "such as 50MB"),
    ],
)
def test_wrong_options_say_what_is_expected(options, problem):
    command = [sys.executable, str(servers.ROOT / "scripts" / "unreliable_link.py"), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert problem in run.stderr


def test_the_counts_are_json(bucket):
    with servers.link(bucket.port) as link:
        answer, body = ask(connect(link), "/_link")
        assert json.loads(body) == {"requests": 0, "body_bytes": 0, "faults": {}}
        assert answer.headers["Content-Type"] == "application/json"
