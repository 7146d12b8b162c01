import email.message
import socket
import ssl
import threading
import time
import urllib.error
from contextlib import contextmanager

import pytest

from sharding.archives.http_answers import explain
from sharding.archives.http_object import HttpObject
from sharding.errors import DataError, UsageError
from sharding.stores import retry
from tests import servers

OK = b"HTTP/1.1 200 OK\r\n"
PARTIAL = b"HTTP/1.1 206 Partial Content\r\n"


@contextmanager
def raw_server(answer):
    """A server that sends these bytes to each connection and closes it; gives its address and what it was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        asked.append(connection.recv(65536))
                        connection.sendall(answer)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", asked
        listener.shutdown(socket.SHUT_RDWR)


ANSWERS = {
    "a length that is no number": (OK + b"Content-Length: abc\r\n\r\nhello", "found the Content-Length abc;"),
    "a negative length": (OK + b"Content-Length: -5\r\n\r\nhello", "found the Content-Length -5;"),
    "5000 digits": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello", r"found the Content-Length 9+\.\.\.9+;"),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "found the Content-Length 5, 6;"),
    "no length": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "found no Content-Length"),
    "other bytes": (PARTIAL + b"Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nhello", "wrong Content-Range"),
    "no size": (
        PARTIAL + b"Content-Range: bytes 0-9/*\r\nContent-Length: 10\r\n\r\nhello",
        "wrong Content-Range: byte",
    ),
    "no range": (PARTIAL + b"Content-Length: 10\r\n\r\nhello", "wrong Content-Range: none"),
    "an end after the end": (PARTIAL + b"Content-Range: bytes 0-9/5\r\n\r\nhello", "wrong Content-Range"),
    "a range of digits": (PARTIAL + b"Content-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\n", "wrong Content-Range"),
    "10 MB of header": (OK + b"X: " + b"a" * 10_000_000 + b"\r\n\r\n", "no valid HTTP .*65536 bytes"),
    "many headers": (OK + b"X: a\r\n" * 1000 + b"Content-Length: 5\r\n\r\nhello", "no valid HTTP .*100 headers"),
    "another protocol": (b"SSH-2.0-OpenSSH\x1b[31m\r\n", r"no HTTP \(SSH-2\.0-OpenSSH\\x1b\[31m\)"),
    "a loop": (b"HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "it redirects in a loop"),
    "a file": (b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n", "it redirects in a loop or nowhere"),
    "FTP": (b"HTTP/1.1 302 F\r\nLocation: ftp://127.0.0.1/x\r\n\r\n", "redirects to what is no web address"),
    "no address": (b"HTTP/1.1 302 F\r\nLocation: http://[::bad/x\r\n\r\n", "redirects to what is no web address"),
    "a coloured reason": (b"HTTP/1.1 403 \x1b[31mno\x07\r\nContent-Length: 0\r\n\r\n", r"403 \(\\x1b\[31mno\\x07\)"),
    "a proxy's wish": (b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", "the proxy wants a login"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_named_and_refused_at_once(case):
    answer, problem = ANSWERS[case]
    with raw_server(answer) as (url, asked):
        began = time.monotonic()
        with pytest.raises(DataError, match=problem) as error:
            HttpObject(url, delay_s=5)
        assert time.monotonic() - began < 4  # before the first pause ends
        assert len(asked) <= 11  # a loop is followed for a while
    assert "\x1b" not in str(error.value)


def test_a_space_and_other_letters_are_encoded_and_what_is_encoded_stays():
    with servers.web_server(lambda handler: servers.answer(handler, 200, b"0123456789")) as server:
        remote = HttpObject(f"{server.url}/a b/\u00e9%20%41?q=c d&r=%2F")
        assert remote.read_at(2, 3) == b"234"
        remote.close()
        assert server.seen[0]["path"] == "/a%20b/%C3%A9%20%41?q=c%20d&r=%2F"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1:port/x",
        "http:///x",
        "http://[::1/x",
        "http://a..b/x",
        f"http://{'a' * 64}.example/x",
        "http://u:S3cr3t\u2100@h/x",
        "http://h/x\n",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_before_any_request(url):
    with pytest.raises(UsageError, match="expected an address such as https://HOST:PORT/PATH") as error:
        HttpObject(url)
    assert "S3cr3t" not in str(error.value)


LASTING = {
    "an unknown host": (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
    "a name server that is away": (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
    "a refused connection": (ConnectionRefusedError(111, "Connection refused"), False),
    "a certificate": (ssl.SSLCertVerificationError(1, "x"), True),
    "a proxy's 403": (OSError("Tunnel connection failed: 403 Forbidden"), True),
    "a proxy's 503": (OSError("Tunnel connection failed: 503 Busy"), False),
    "a silence": (TimeoutError("timed out"), False),
}


@pytest.mark.parametrize("case", LASTING)
def test_what_lasts_is_told_from_what_passes(case):
    error, lasting = LASTING[case]
    if not hasattr(error, "verify_message"):
        error.verify_message = "self-signed certificate"
    assert explain(urllib.error.URLError(error)).lasting is lasting


def test_a_port_where_nothing_answers_is_given_up_soon_and_said_after_the_first_failure(monkeypatch, capfd):
    monkeypatch.setattr("sharding.archives.http_object.UNANSWERED_S", 1.0)
    monkeypatch.setattr(retry, "_announced", [-100.0])
    url = f"http://127.0.0.1:{servers.free_port()}/x"
    began = time.monotonic()
    with pytest.raises(DataError, match="2 attempts failed, the last with: Connection refused; run again when"):
        HttpObject(f"{url}?token=S3cr3t", delay_s=0.4)
    assert time.monotonic() - began < 5
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{url}: Connection refused; trying again until ")


@pytest.mark.parametrize(("proxy", "answered"), [(False, True), (True, False)])
def test_a_busy_server_is_one_that_answered_and_a_proxy_without_one_is_not(monkeypatch, proxy, answered):
    monkeypatch.setattr("sharding.archives.http_object.UNANSWERED_S", 0.0)
    busy = [503] * 3

    def respond(handler):
        servers.answer(handler, busy.pop() if busy else 200, b"0123456789")

    with servers.web_server(respond) as server:
        if proxy:
            monkeypatch.setenv("http_proxy", server.url)
        url = "http://archives.invalid/x" if proxy else f"{server.url}/x"
        if answered:
            HttpObject(url, delay_s=0.01).close()
            return
        with pytest.raises(DataError, match=r"1 attempts failed.*503 .*\(through http_proxy="):
            HttpObject(url, delay_s=0.01)


def test_a_status_that_comes_through_a_tunnel_is_of_the_server(monkeypatch):
    monkeypatch.setattr("sharding.archives.http_object.UNANSWERED_S", 0.0)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    busy, asked = [503, 503], []

    def open_request(request, timeout_s):
        asked.append(request.full_url)
        if busy:
            raise urllib.error.HTTPError(request.full_url, busy.pop(), "Busy", {}, None)
        return Answer()

    class Answer:
        status, headers, close = 206, email.message.Message(), lambda self: None

    Answer.headers["Content-Range"] = "bytes 0-9/10"
    monkeypatch.setattr("sharding.archives.http_object.open_request", open_request)
    HttpObject("https://archives.invalid/x", delay_s=0.01)
    assert len(asked) == 3


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_an_archive_is_read_through_the_proxy_that_is_set(monkeypatch, name):
    with servers.web_server(lambda handler: servers.answer(handler, 200, b"0123456789")) as proxy:
        monkeypatch.setenv(name, proxy.url)
        remote = HttpObject("http://archives.invalid/x")
        assert remote.read_at(2, 3) == b"234"
        remote.close()
    monkeypatch.setenv(name, "socks5://127.0.0.1:1080")
    with pytest.raises(UsageError, match=f"{name}=socks5://127.0.0.1:1080: archives are read through http"):
        HttpObject("http://archives.invalid/x")


def test_a_server_with_another_protocol_than_tls_is_refused_at_once():
    with raw_server(b"HTTP/1.1 400 Bad\r\n\r\n") as (url, _):
        began = time.monotonic()
        with pytest.raises(DataError, match="does not speak TLS as expected"):
            HttpObject(url.replace("http:", "https:"), delay_s=5)
        assert time.monotonic() - began < 4
