import hashlib
import http.client
import http.server
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from sharding.archives.archive import open_archive
from sharding.archives.blocks import AHEAD_BLOCKS, DOWNLOAD_BLOCK_BYTES
from sharding.archives.http_object import HttpObject
from sharding.archives.members import MemberReader
from sharding.archives.url_source import open_source
from sharding.errors import DataError
from tests import servers
from tests.sharding.tarballs import payload, tarball, write

DATA = payload(6_000_000, 5)
LIMIT_S = 60  # for what takes a moment on an idle machine


class Behaviour:
    """What the server does; tests change it while it runs."""

    def __init__(self, data):
        self.data, self.etag, self.ranges, self.length, self.statuses = data, '"1"', True, True, []
        self.drop_after, self.stall_s, self.requests, self.sent = None, 0.0, [], 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        does, asked = self.server.does, self.headers.get("Range")
        does.requests.append(asked)
        if self.path != "/x" or does.statuses:
            return self.send_error(does.statuses.pop(0) if does.statuses else 404)
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if does.ranges and asked else 0
        body = does.data[first:]
        self.send_response(206 if does.ranges and asked else 200)
        if does.ranges and asked:
            self.send_header("Content-Range", f"bytes {first}-{len(does.data) - 1}/{len(does.data)}")
        if does.length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", does.etag)
        self.end_headers()
        try:
            self.send_body(does, body)
        except OSError:
            pass

    def send_body(self, does, body):
        limit = len(body) if does.drop_after is None else does.drop_after
        for start in range(0, min(limit, len(body)), 50_000):
            piece = body[start : min(start + 50_000, limit)]
            self.wfile.write(piece)
            does.sent += len(piece)
        if limit < len(body):
            time.sleep(does.stall_s)
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(data=DATA):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.does = Behaviour(data)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/x", server.does
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def opened(url, **options):
    remote = HttpObject(url, **{"delay_s": 0.01, "timeout_s": 5} | options)
    try:
        yield remote
    finally:
        remote.close()


def count_received(monkeypatch):
    """Count what HTTP responses hand out from now on: a function that tells the bytes so far."""
    received, read1 = [], http.client.HTTPResponse.read1

    def counting(self, size=-1):
        data = read1(self, size)
        received.append(len(data))
        return data

    monkeypatch.setattr(http.client.HTTPResponse, "read1", counting)
    return lambda: sum(received)


@pytest.fixture
def received(monkeypatch):
    return count_received(monkeypatch)


def read_through(remote, step=70_000):
    return b"".join(remote.read_at(offset, step) for offset in range(0, remote.size, step))


def test_reading_through_is_one_request_and_no_byte_twice(received):
    with serving() as (url, does), opened(url) as remote:
        assert read_through(remote) == DATA
        assert does.requests == ["bytes=0-"]
        assert received() == len(DATA) == remote.size
        assert remote.read_at(len(DATA) - 3, 100) == DATA[-3:]
        assert remote.read_at(len(DATA) + 3, 100) == b""


def test_any_part_can_be_read_in_any_order_from_several_threads():
    with serving() as (url, _), opened(url) as remote:
        places = [(random.Random(i).randrange(len(DATA)), random.Random(i).randrange(2_000_000)) for i in range(40)]
        wrong = []

        def check(some):
            wrong.extend(place for place in some if remote.read_at(*place) != DATA[place[0] : sum(place)])

        threads = [threading.Thread(target=check, args=(places[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []


def test_a_lost_connection_is_taken_up_at_the_byte(received):
    with serving() as (url, does):
        does.drop_after = 1_234_567
        with opened(url) as remote:
            assert read_through(remote) == DATA
            assert received() == len(DATA)
        assert does.requests == [f"bytes={first}-" for first in range(0, len(DATA), 1_234_567)]


def test_a_server_that_stalls_is_left_and_asked_again(received):
    with serving() as (url, does):
        does.drop_after, does.stall_s = 2_500_000, 3.0
        with opened(url, timeout_s=0.3) as remote:
            assert read_through(remote) == DATA
            assert received() == len(DATA)


def test_a_start_in_the_middle_leaves_what_is_before(received):
    with serving() as (url, does), opened(url) as remote:
        remote._drop()
        before = received()
        offset = 5 * DOWNLOAD_BLOCK_BYTES
        remote._position = 100 * DOWNLOAD_BLOCK_BYTES
        assert remote.read_at(offset, 1000) == DATA[offset : offset + 1000]
        assert does.requests[-1] == f"bytes={offset}-"
        assert received() - before <= len(DATA) - offset


def test_reading_ahead_stays_within_its_bound(received):
    with serving(payload(20_000_000, 1)) as (url, _), opened(url) as remote:
        remote.read_at(0, 10)
        assert remote._ahead is None
        assert received() == DOWNLOAD_BLOCK_BYTES
        remote.read_at(10, 10)
        remote._ahead.result(LIMIT_S)
        assert received() == (1 + AHEAD_BLOCKS) * DOWNLOAD_BLOCK_BYTES


@pytest.mark.parametrize(
    ("status", "problem"), [(404, "no such file"), (403, "may not be read"), (401, "login"), (410, "status 410")]
)
def test_a_refusal_is_an_error_at_once(status, problem):
    with serving() as (url, does):
        does.statuses = [status]
        with pytest.raises(DataError, match=problem), opened(url):
            pass
        assert len(does.requests) == 1


def test_a_busy_server_is_asked_again_and_a_dead_one_is_given_up():
    with serving() as (url, does):
        does.statuses = [503, 500, 429]
        with opened(url) as remote:
            assert read_through(remote) == DATA
        does.statuses = [503] * 50
        with pytest.raises(DataError, match="3 attempts failed"), opened(url, retries=2):
            pass
    with pytest.raises(DataError, match="run again when the network"), opened(url, retries=1):
        pass


@pytest.mark.parametrize("change", ["etag", "size"])
def test_a_file_that_changes_while_it_is_read_is_an_error(change):
    with serving() as (url, does):
        does.drop_after = 1_500_000
        with opened(url) as remote:
            if change == "etag":
                does.etag = '"2"'
            else:
                does.data = DATA + b"more"
            with pytest.raises(DataError, match="changed while it was read"):
                read_through(remote)


def test_a_server_that_does_not_tell_the_size_is_an_error():
    with serving() as (url, does):
        does.ranges = does.length = False
        with pytest.raises(DataError, match="report the size"), opened(url):
            pass


def test_a_server_without_ranges_is_read_once_and_says_so_when_it_breaks():
    with serving() as (url, does):
        does.ranges = False
        with opened(url) as remote:
            assert read_through(remote) == DATA
        does.drop_after = 2_000_000
        with opened(url) as remote, pytest.raises(DataError, match="does not send parts of a file"):
            read_through(remote)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_an_archive_behind_a_url_gives_the_members_of_the_file(tmp_path, suffix, received):
    path = write(tmp_path / f"x{suffix}", tarball([400_000] * 25))
    with open_archive(open_source(str(path))) as archive:
        expected = list(MemberReader(archive))
    with serving(path.read_bytes()) as (url, does), opened(url) as remote:
        does.drop_after = 3_000_000
        with open_archive(remote, threads=2, digest=True) as archive:
            assert list(MemberReader(archive)) == expected
            assert archive.md5()
        assert received() == remote.size


def test_a_resume_from_a_url_downloads_only_what_is_left(tmp_path, monkeypatch, received):
    monkeypatch.setattr("sharding.archives.http_object.MAX_JUMP_BLOCKS", 8)  # of 64, for a file so small
    path = write(tmp_path / "x.tar.gz", tarball([500_000] * 40))
    with serving(path.read_bytes()) as (url, _):
        with opened(url) as remote, open_archive(remote, threads=2, stride_bytes=2 << 20) as archive:
            members = iter(MemberReader(archive))
            for _ in range(30):
                end = next(members).end
            state, position = archive.seek_point, archive.compressed_position
        before = received()
        with opened(url) as remote, open_archive(remote, end, state, threads=2) as archive:
            assert len(list(MemberReader(archive))) == 10
            assert received() - before <= remote.size - position + (2 << 20) + 4 * DOWNLOAD_BLOCK_BYTES


S3_READER = """
import hashlib, pathlib, sys
from sharding.archives.url_source import open_source
source = open_source("s3://bucket/x.tar")
data = b"".join(source.read_at(offset, 700_000) for offset in range(0, source.size, 700_000))
print(hashlib.sha256(data).hexdigest(), flush=True)
if len(sys.argv) > 1:
    path = pathlib.Path(sys.argv[1])
    path.write_bytes(b"new" + path.read_bytes()[3:])
    source._cache.clear()
    source.read_at(0, 10)
source.close()
"""


@contextmanager
def bucket(root):
    """A real S3 server over `root`; gives the environment that leads to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("localbucket")), "--port", str(port), str(root)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
        yield os.environ | keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
    finally:
        server.kill()
        server.wait(10)


def test_an_object_of_a_bucket_is_read_whole_and_pinned(tmp_path):
    path = tmp_path / "bucket" / "x.tar"
    path.parent.mkdir()
    path.write_bytes(DATA)
    with bucket(tmp_path) as environment:
        for change in (False, True):  # obstore has threads of its own, so it lives in a process of its own
            command = [sys.executable, "-c", S3_READER, *([str(path)] if change else [])]
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
            assert run.stdout.strip() == hashlib.sha256(DATA).hexdigest(), run.stderr
            assert (run.returncode != 0) == change
        assert "the object changed while it was read" in run.stderr
        gone = S3_READER.replace("x.tar", "y.tar")
        run = subprocess.run([sys.executable, "-c", gone], env=environment, capture_output=True, text=True, timeout=60)
        assert "DataError: s3://bucket/y.tar: expected an object, found none" in run.stderr


@pytest.mark.parametrize("by", ["address", "token"])
def test_a_login_goes_to_its_server_and_to_no_other(monkeypatch, by):
    wanted = "Basic dXNlcjpwQHNz" if by == "address" else "Bearer t0ken-of-this-test"
    monkeypatch.setenv("DEPTHSTREAM_HTTP_TOKEN", "t0ken-of-this-test")
    with servers.web_server(lambda handler: servers.answer(handler, 200, DATA)) as storage:

        def respond(handler):
            known = handler.headers["authorization"] == wanted
            servers.answer(handler, 302 if known else 401, Location=f"{storage.url}/signed?sig=1")

        with servers.web_server(respond) as front:
            login = "user:p%40ss@" if by == "address" else ""
            with opened(f"{front.url.replace('//', f'//{login}')}/x?version=3") as remote:
                assert read_through(remote) == DATA
                assert remote.name == f"{front.url}/x"
            assert front.seen[0]["path"] == "/x?version=3"
            assert [one["path"] for one in storage.seen] == ["/signed?sig=1"]
            assert "authorization" not in storage.seen[0]
            wanted = "something else"
            with pytest.raises(DataError, match=rf"^{front.url}/x: .*401.* a login is required: set ") as error:
                HttpObject(f"{front.url.replace('//', f'//{login}')}/x?version=3")
            assert "p%40ss" not in str(error.value)


def test_closing_does_not_wait_for_a_server_that_is_gone():
    with serving(payload(20_000_000, 1)) as (url, does):
        remote = HttpObject(url, delay_s=30, timeout_s=60)
        does.drop_after, does.statuses = 0, [503] * 50
        remote._drop()
        with remote._lock:  # the reading ahead has begun, and does not get far
            remote._read_ahead(1)
        deadline = time.monotonic() + 20
        while len(does.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(does.requests) == 2
        began = time.monotonic()
        remote.close()
        assert time.monotonic() - began < 5
        assert remote._ahead.done()
