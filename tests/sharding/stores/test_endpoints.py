"""Addresses and variables that are wrong, servers that are others, and what is said while they are tried."""

import gzip
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from sharding.errors import DataError, UsageError
from sharding.reading.check import check_set
from sharding.stores import retry
from sharding.stores.address import plain_address, split_address
from sharding.stores.credentials import check_variables, find_proxy, forget_empty
from sharding.stores.failure import ClientPanic, no_panic, read_failure
from sharding.stores.opening import open_store
from sharding.stores.retry import ReadFailed, RetryingStore, RetryPolicy
from tests import servers
from tests.sharding.archives.test_http_answers import raw_server
from tests.sharding.stores.test_retry import Clock, Scripted


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No variables of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in servers.s3_variables("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000", "found something else; write AWS_ENDPOINT_URL=http://localhost:9000"),
        ("AWS_ENDPOINT_URL_S3", "//localhost", "expected http://HOST:PORT or https://HOST:PORT"),
        ("AWS_ENDPOINT", "http://", "expected http://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "http://h:99999", "expected http://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "http://a b", "expected http://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "ftp://h", "expected http://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "http://h/?x=1", "expected http://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "u:S3cr3tOfTheTest@h", r"AWS_ENDPOINT_URL=\(hidden\)@h: expected http"),
        ("AWS_SESSION_TOKEN", "S3cr3tOf\nTheTest", "AWS_SESSION_TOKEN: expected plain text, found control characters"),
        ("AWS_SECRET_ACCESS_KEY", "S3cr3tOfTheTest\n", "AWS_SECRET_ACCESS_KEY: expected plain text"),
        ("AWS_REGION", "eu west", "AWS_REGION=eu west: expected the name of a region"),
        ("AWS_REGION", "é", "expected the name of a region"),
        ("AWS_ENDPOINT_URL", "http://é", "expected http://HOST:PORT"),
        ("AZURE_STORAGE_ENDPOINT", "lab.blob.core", "AZURE_STORAGE_ENDPOINT=lab.blob.core: expected http"),
    ],
)
def test_a_variable_that_the_client_would_panic_over_is_named(monkeypatch, capfd, name, value, found):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=found) as error:
        open_store("s3://bucket/set")
    assert "S3cr3t" not in str(error.value)
    assert capfd.readouterr().err == ""  # no panic


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch, tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "x").write_bytes(b"0123")
    empty = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_SESSION_TOKEN", "AWS_CONDITIONAL_PUT", "AWS_PROFILE")
    with servers.localbucket(tmp_path) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        for name in empty:
            monkeypatch.setenv(name, " " * (name == "AWS_PROFILE"))
        assert open_store("s3://bucket").read_all("x") == b"0123"
    assert not set(empty) & set(os.environ)
    variables = {"AWS_REGION": "", "AWS_ENDPOINT_URL": "http://h", "OTHER": "", "GOOGLE_X": " "}
    forget_empty(variables)
    assert variables == {"AWS_ENDPOINT_URL": "http://h", "OTHER": ""}
    check_variables({"GOOGLE_SERVICE_ACCOUNT_KEY": '{\n "a": 1\n}', "AWS_ENDPOINT_URL": "https://u:p@h:1/base"})


def test_a_panic_of_the_client_is_an_error_like_its_others():
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(ClientPanic, match="the client of the store failed: request valid"), no_panic():
        raise panic("request valid")
    with pytest.raises(KeyboardInterrupt), no_panic():
        raise KeyboardInterrupt
    failure = read_failure(str(ClientPanic("the client of the store failed: x")))
    assert not failure.transient


def test_a_real_panic_is_one_line_with_the_address(monkeypatch):
    monkeypatch.setattr("sharding.stores.client.check_variables", lambda environment: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(
        DataError, match=r"^s3://b/set/x, bytes 0-4: expected to read it, but: the client of the store f"
    ):
        open_store("s3://b/set").read("x", [(0, 5)])


def test_an_unknown_bucket_is_not_a_missing_set(monkeypatch, tmp_path):
    (tmp_path / "bucket").mkdir()
    with servers.localbucket(tmp_path) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        with pytest.raises(DataError, match=r"s3://nobody/set/manifest.json: .*NoSuchBucket.*there is no such bucket"):
            check_set("s3://nobody/set")
        with pytest.raises(UsageError, match=r"s3://bucket/set: expected a shard set with manifest.json, found none"):
            check_set("s3://bucket/set")


@contextmanager
def answering(status, body=b"", **headers):
    with servers.web_server(lambda handler: servers.answer(handler, status, body, **headers)) as server:
        yield server


def test_a_403_of_a_proxy_is_not_one_of_the_store(monkeypatch):
    with answering(403, b"<html>blocked by policy</html>") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:S3cr3tOfTheTest@"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.invalid")
        with pytest.raises(DataError) as error:
            check_set("s3://bucket/set")
    assert str(error.value) == (
        "s3://bucket/set/manifest.json: expected to read it, but: status 403 (blocked by policy) (server "
        f"http://store.invalid, through http_proxy={proxy.url}); an object store names a code with a refusal, and this "
        "has none: a proxy (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) or a firewall may have answered, or another kind of "
        "server"
    )


def test_a_403_of_the_store_is_about_the_credentials(monkeypatch):
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with answering(403, body) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(DataError, match=r"status 403 AccessDenied \(no\); the credentials have no right"):
            check_set("s3://bucket/set")


def test_a_proxy_is_found_as_the_clients_find_it(monkeypatch):
    assert find_proxy("http://h/x", {}) is None
    assert str(find_proxy("http://h/x", {"HTTP_PROXY": "u:p@proxy:1"})) == "HTTP_PROXY=(hidden)@proxy:1"
    assert str(find_proxy("s3://b/x", {"https_proxy": "http://proxy:1"})) == "https_proxy=http://proxy:1"
    assert str(find_proxy("https://h/x", {"ALL_PROXY": "http://a:1", "HTTP_PROXY": "b:1"})) == "ALL_PROXY=http://a:1"
    assert find_proxy("s3://b/x", {"https_proxy": "http://proxy:1", "AWS_ENDPOINT_URL": "http://h"}) is None
    with pytest.raises(UsageError, match="HTTP_PROXY=::::: expected http://HOST:PORT"):
        find_proxy("http://h/x", {"HTTP_PROXY": "::::"})
    monkeypatch.setenv("no_proxy", "h")
    assert find_proxy("http://h/x", {"HTTP_PROXY": "http://proxy:1"}) is None


def test_a_compressed_manifest_is_named(monkeypatch):
    with answering(200, gzip.compress(b"{}"), Content_Encoding="gzip", ETag='"1"') as server:
        for url in (server.url, "s3://bucket"):
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            with pytest.raises(
                DataError, match=r"manifest.json: expected it as it was written, found it compressed wi"
            ):
                open_store(url).read_all("manifest.json")


def test_keys_are_literal_and_web_addresses_are_encoded(monkeypatch, tmp_path):
    assert plain_address("s3://b/50%25") == "s3://b/50%2525"
    assert plain_address("s3://b/50%/a b/") == "s3://b/50%25/a%20b"
    assert plain_address("http://u:p@h/50%25/a b?q=1") == "http://h/50%25/a%20b"
    for name in ("50%25", "50%", "a b", "é+"):
        folder = tmp_path / "bucket" / name
        folder.mkdir(parents=True)
        (folder / "x").write_text(name)
    with servers.localbucket(tmp_path) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        for name in ("50%25", "50%", "a b", "é+"):
            assert open_store(f"s3://bucket/{name}").read_all("x") == name.encode()


@pytest.mark.parametrize(
    "url", ["s3:///x", "http://h:0/x", "http://h\x07/x", "ftp://h/x", "http://[h/x", "s3://b:x/y", "s3://é/x"]
)
def test_an_address_that_cannot_be_one_is_refused(url):
    with pytest.raises(UsageError, match="expected a"):
        split_address(url)
    with pytest.raises(UsageError):
        open_store(url)


ANSWERS = {
    "abc": (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nhello", "Content-Length that is no number|content length"),
    "digits": (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhello", "Content-Length|ontent length"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "does not report how large|Content-",
    ),
    "headers": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000_000 + b"\r\n\r\n", "headers that are too large"),
    "loop": (
        b"HTTP/1.1 302 F\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "redirects in a loop",
    ),
    "file": (
        b"HTTP/1.1 302 F\r\nConnection: close\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        "status 302",
    ),
    "SSH": (b"SSH-2.0-OpenSSH\r\n\r\n", "no valid HTTP: another kind of server"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_named_and_refused_at_once(case):
    answer, problem = ANSWERS[case]
    with raw_server(answer) as (url, _):
        store, began = open_store(url.removesuffix("/x")), time.monotonic()
        for read in (store.read_all, store.size):
            with pytest.raises(DataError, match=problem):
                read("x")
        assert time.monotonic() - began < 4


def unreachable(**more):
    return ReadFailed("s3://b/x", "no connection: Connection refused", unreachable=True, **more)


def trying(failures, answered=False):
    clock = Clock()
    return RetryingStore(Scripted(clock, failures), RetryPolicy(), clock, answered=answered), clock


def test_a_server_that_never_answered_is_given_up_soon_and_one_that_did_is_waited_for(monkeypatch, capfd):
    monkeypatch.setattr(retry, "_announced", [-100.0])
    store, clock = trying([unreachable()] * 50)
    with pytest.raises(DataError, match=r"attempts in \d+\.\d s failed, the last with: no connection"):
        store.read("x", [(0, 1)])
    assert 5 < clock.time <= 15
    for store, clock in (trying([None] + [unreachable()] * 12), trying([unreachable()] * 12, answered=True)):
        store.read("x", [(0, 1)])
        store.read("x", [(0, 1)])
        assert clock.time > 40
    # A process says it once in half a minute, with the time until when.
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("s3://b/x: no connection: Connection refused; trying again until ")


def test_an_answer_that_refuses_is_one_as_well():
    store, clock = trying([ReadFailed("s3://b/x", "status 503")] + [unreachable()] * 12)
    store.read("x", [(0, 1)])
    assert clock.time > 40


def test_what_is_gone_within_a_second_is_not_said(monkeypatch, capfd):
    monkeypatch.setattr(retry, "_announced", [-100.0])
    store, _ = trying([ReadFailed("s3://b/x", "status 503")] * 3)
    store.read("x", [(0, 1)])
    assert capfd.readouterr().err == ""


def test_a_dead_endpoint_ends_the_command_soon_and_says_what_is_tried():
    environment = os.environ | servers.s3_variables(f"http://127.0.0.1:{servers.free_port()}")
    # The fifth pause ends between 1.5 and 3.1 s, so one is said before the 4 s end.
    code = (
        "import dataclasses, sharding.stores.retry as retry\n"
        "policy = retry.RetryPolicy\n"
        "retry.RetryPolicy = lambda: policy(unanswered_s=4)\n"
        "from sharding.reading.check import check_set\n"
        "check_set('s3://bucket/set')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    first, *_, last = run.stderr.splitlines()
    assert first.startswith(
        "s3://bucket/set/manifest.json: no connection: Connection refused (server http://127.0.0.1:"
    )
    assert "; trying again until " in first
    assert "sharding.errors.DataError: s3://bucket/set/manifest.json: expected to read it, but " in last
