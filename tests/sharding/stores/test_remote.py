import threading

import pytest

from sharding.archives.url_source import open_source
from sharding.errors import DataError, UsageError
from sharding.stores.failure import read_failure
from sharding.stores.opening import open_store
from sharding.stores.remote import PARALLEL_REQUESTS
from tests.servers import answer, answer_range, web_server
from tests.sharding.tarballs import payload

DATA = payload(2_000_000, 3)


def test_only_the_bytes_asked_for_are_requested_and_those_that_touch_at_once():
    with web_server(lambda handler: answer_range(handler, DATA)) as server:
        found = open_store(server.url).read("x", [(500, 100), (0, 100), (100, 100), (202, 5), (0, 0), (520, 10)])
        assert found == [DATA[500:600], DATA[:100], DATA[100:200], DATA[202:207], b"", DATA[520:530]]
        assert sorted(seen["range"] for seen in server.seen) == ["bytes=0-199", "bytes=202-206", "bytes=500-599"]


def test_the_ranges_of_a_read_are_fetched_side_by_side_within_a_bound():
    together, lock, active = threading.Barrier(PARALLEL_REQUESTS, timeout=20), threading.Lock(), []

    def respond(handler):
        with lock:
            active.append(active[-1] + 1 if active else 1)
        together.wait()  # breaks unless so many requests are here at once
        with lock:
            active.append(active[-1] - 1)
        answer_range(handler, DATA)

    with web_server(respond) as server:
        ranges = [(10 * at, 5) for at in range(3 * PARALLEL_REQUESTS)]
        assert open_store(server.url).read("x", ranges) == [DATA[start : start + 5] for start, _ in ranges]
        assert max(active) == PARALLEL_REQUESTS


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', ""])
def test_an_etag_is_sent_back_where_it_can_match_and_compared_in_any_case(etag):
    sent = {"ETag": etag} if etag else {}

    def respond(handler):
        weak = handler.headers.get("if-match", "").startswith("W/")
        answer(handler, 412) if weak else answer_range(handler, DATA, **sent)

    with web_server(respond) as server:
        store = open_store(server.url)
        for _ in range(2):
            assert store.read("x", [(0, 10)]) == [DATA[:10]]
        assert [seen.get("if-match") for seen in server.seen] == [None, etag if etag == '"1"' else None]
        if etag:
            sent["ETag"] = '"2"'  # of a server that does not heed the condition
            with pytest.raises(DataError, match=r"the object changed while it was read: expected .*1.*found .*2"):
                store.read("x", [(0, 10)])


def test_a_server_without_ranges_is_a_clear_error():
    with web_server(lambda handler: answer(handler, 200, DATA)) as server:
        with pytest.raises(
            DataError, match=rf"^{server.url}/x, bytes 0-9: .*does not send parts of objects: copy the s"
        ):
            open_store(server.url).read("x", [(0, 10)])
        assert len(server.seen) == 1


def test_an_address_that_no_attempt_can_reach_is_an_error_at_once():
    with web_server(lambda handler: answer_range(handler, DATA)) as server:
        with pytest.raises(DataError, match="no connection: it does not speak TLS; check the address"):
            open_store(server.url.replace("http:", "https:")).read("x", [(0, 3)])
    with pytest.raises(DataError, match=r"no connection: .*Name or service not known; check the address"):
        open_store("http://no-such-host.invalid").read("x", [(0, 3)])


@pytest.mark.parametrize(
    ("text", "shown", "transient"),
    [
        (
            "Generic S3 error: Error performing GET http://u:word@h/b/x?sig=1 in 1ms - Server returned non-2xx status "
            'code: 503 Service Unavailable: <?xml version="1.0"?><Error><Code>SlowDown</Code>'
            "<Message>Reduce it</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>\n\nDebug source:\nx 500",
            "status 503 SlowDown (Reduce it)",
            True,
        ),
        (
            "Generic S3 error: Error performing GET http://h/x in 1ms - Server returned non-2xx status code: 400 Bad "
            "Request: <Error><Code>RequestTimeout</Code><Message>late</Message></Error>",
            "status 400 RequestTimeout (late)",
            True,
        ),
        ("x - Server returned non-2xx status code: 400 Bad Request: \n\nDebug source:\nx", "status 400", False),
        ("x - Server returned non-2xx status code: 501 Not Implemented: no", "status 501 (no)", False),
        (
            "Generic HTTP error: Error performing GET http://h/x in 1ms - HTTP error: error sending request\n\nDebug "
            "source:\nHttp(HttpError { kind: Connect, source: Custom { kind: Other, error: InvalidCertificate( Unknown",
            "no connection: its certificate is not trusted here",
            False,
        ),
        (
            "Generic S3 error: Received redirect without LOCATION",
            "the bucket is in another region: set AWS_REGION",
            False,
        ),
        ("Something new at http://u:word@h/x?sig=1 happened\nmore", "Something new at (address) happened", False),
    ],
)
def test_the_clients_text_is_read_for_what_may_be_shown(text, shown, transient):
    failure = read_failure(text)
    assert (str(failure), failure.transient) == (shown, transient)


@pytest.mark.parametrize(("kind", "unreachable"), [("Request", True), ("Body", False)])
def test_a_server_whose_answer_stops_is_there(kind, unreachable):
    text = (
        "Generic HTTP error: HTTP error: request or response body error\n\nDebug source:\nGeneric {\n    source: "
        "HttpError {\n        kind: Timeout,\n        source: reqwest::Error {\n            kind: %s,\n"
    )
    failure = read_failure(text % kind)
    assert (failure.lost, failure.unreachable, failure.transient) == (True, unreachable, True)


TOKEN = "token-of-the-loopback-test"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_token_goes_to_its_server_and_to_no_other(monkeypatch, elsewhere):
    monkeypatch.setenv("DEPTHSTREAM_HTTP_TOKEN", TOKEN)
    with web_server(lambda handler: answer_range(handler, DATA)) as storage:
        here = []

        def respond(handler):
            target = storage.url if elsewhere else here[0]
            redirect = handler.path.startswith("/set")
            answer(handler, 302, Location=f"{target}/signed/x?sig=1") if redirect else answer_range(handler, DATA)

        with web_server(respond) as front:
            here.append(front.url)
            assert open_store(f"{front.url}/set").read("x", [(3, 7)]) == [DATA[3:10]]
            assert front.seen[0]["authorization"] == f"Bearer {TOKEN}"
            last = (storage if elsewhere else front).seen[-1]
            assert last["path"] == "/signed/x?sig=1"
            assert last["range"] == "bytes=3-9"
            assert last.get("authorization") == (None if elsewhere else f"Bearer {TOKEN}")


def test_user_and_password_of_an_address_are_sent_and_never_shown():
    def respond(handler):
        good = handler.headers.get("authorization") == "Basic dXNlcjpwYXNzOndvcmQ="
        answer_range(handler, DATA) if good else answer(handler, 401, b"who are you?")

    with web_server(respond) as server:
        host = server.url.removeprefix("http://")
        assert open_store(f"http://user:pass%3Aword@{host}/set").read("x", [(0, 3)]) == [DATA[:3]]
        with pytest.raises(DataError) as error:
            open_store(f"http://user:wrong-word@{host}/set").read("x", [(0, 3)])
        assert f"{server.url}/set/x, bytes 0-2: " in str(error.value)
        assert "status 401 (who are you?); a login is required" in str(error.value)
        assert "wrong-word" not in str(error.value)


def test_a_secret_that_a_server_repeats_is_not_shown(monkeypatch):
    monkeypatch.setenv("DEPTHSTREAM_HTTP_TOKEN", TOKEN)
    with web_server(lambda handler: answer(handler, 403, f"{TOKEN} may not".encode())) as server:
        with pytest.raises(DataError, match=r"status 403 \(\(DEPTHSTREAM_HTTP_TOKEN\) may not\)"):
            open_store(server.url).read("x", [(0, 3)])


@pytest.mark.parametrize("password", ["pa/ssword", "pa?ssword", "pa#ssword", "3/ssword"])
def test_a_password_that_would_be_taken_for_a_path_is_refused_and_not_shown(password):
    with pytest.raises(UsageError, match=r"write it as %40, and `/`, `\?` and `#` of a password as") as error:
        open_store(f"https://user:{password}@host/set")
    assert "pa" not in str(error.value).replace("password", "")
    with pytest.raises(UsageError, match="%40"):
        open_source(f"https://user:{password}@host/x.tar")


def test_an_address_with_a_query_or_of_another_kind_is_refused():
    with pytest.raises(UsageError) as error:
        open_store("https://example.org/set?X-Amz-Signature=123456")
    assert "found one with a query" in str(error.value)
    assert "123456" not in str(error.value)
    with pytest.raises(UsageError, match=r"ftp://: expected a folder, or an address with one of s3, gs, az"):
        open_store("ftp://example.org/set")
