"""Why a request failed: the status that the server answered with, or how the connection broke.

Parsed from the text of obstore's error, which is all that obstore reports. Credentials, addresses and query strings in
that text are left out.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# "... Server returned non-2xx status code: 503 Service Unavailable: BODY\n\nDebug source:\n...": groups 503 and BODY.
_STATUS = re.compile(r"non-2xx status code: (\d{3})[^:\n]*: ?(.*?)(?=\n\nDebug source:|\Z)", re.DOTALL)
# Without an answer the debug source holds Rust's nested errors: 'Http(HttpError { kind: Connect, source: ... Os { code:
# 111, kind: ConnectionRefused, message: "Connection refused" } ... })'.
_OUTER_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_SYSTEM_MESSAGE = re.compile(r'Os \{[^}]*message: "([^"]*)"|Custom \{[^}]*error: "([^"]*)"')

_CONNECTION = {
    "Timeout": "the request timed out before the whole answer arrived",
    "Connect": "no connection",
    "Interrupted": "the connection broke",
    "Request": "the connection closed before an answer",
}
_OTHER = {
    "redirect without LOCATION": "the bucket is in another region: set AWS_REGION",
    "Range request not supported": "the server does not send parts of objects: copy the set, or stream it whole",
    "non-partial response": "the server does not send parts of objects: copy the set, or stream it whole",
    "Requested ": "other bytes arrived than were requested",
    "MissingContentLength": "the server does not report how large its objects are (no Content-Length)",
    "TooManyRedirects": "the server redirects in a loop",
    "BadScheme": "it redirects to an address that is not of the web",
    "ProxyAuthRequired": "the proxy wants a login: add user and password to its address",
    "ContentLengthInvalid": "the answer has a Content-Length that is no number",
    "Parse(TooLarge": "the answer has headers that are too large",
    "Parse(": "the answer is no valid HTTP: another kind of server is at that port",
}
"""Errors that obstore raises about an answer, by a part of their text, and what they mean here."""

_UNREACHABLE = ("Connect", "Timeout")  # kinds of failure that do not tell that there is a server
_IN_THE_BODY = "reqwest::Error{kind:Body"  # but if the time ran out after the head of the answer, they do

_TRANSIENT_STATUS = (408, 429, *(set(range(500, 600)) - {501, 505}))  # 501, 505: the server cannot do this at all
_TRANSIENT_CODES = ("RequestTimeout",)  # S3 sends it with status 400
_TLS = {"InvalidCertificate": "its certificate is not trusted here", "InvalidContentType": "it does not speak TLS"}
_REASONS = _TLS | {"TunnelUnsuccessful": "the proxy refuses to connect"}
_PERMANENT = ("Name or service not known", "nodename nor servname provided", *_TLS.values())
"""Failures to connect that another attempt does not repair: name resolution and TLS."""

_ADVICE = {
    "ExpiredToken": "the credentials have expired: get new ones (with SSO: `aws sso login`) and run again",
    "InvalidAccessKeyId": "the server does not know the access key: check AWS_ACCESS_KEY_ID or the profile, and that "
    "AWS_ENDPOINT_URL names the right server",
    "SignatureDoesNotMatch": "the secret does not belong to the access key: check AWS_SECRET_ACCESS_KEY or the profile",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "NoSuchBucket": "there is no such bucket: check the address",
    "ContainerNotFound": "there is no such container: check the address",
    401: "a login is required: for http(s) set DEPTHSTREAM_HTTP_TOKEN, else check the credentials",
    403: "the credentials have no right to read this, or there is no such object: check both",
    407: "the proxy wants a login: add user and password to its address",
    404: "there is no such object: check the address, and that the set is whole",
    416: "the object is shorter than the index of the set requires: get a whole copy of the set",
}
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
"""Codes of a bucket that is missing, not only an object."""

_OTHER_ADVICE = "check the address and what the server allows"
MAX_MESSAGE_CHARS = 200
"""Longest part of a server's message that is shown, in characters."""


@dataclass(frozen=True, kw_only=True)
class RequestFailure:
    """The reason why a request failed.

    Attributes:
        status: HTTP status; None if there was no answer.
        code: Code in S3's error document, such as "SlowDown"; "" without one.
        message: Message of the server, or what happened to the connection.
        lost: Whether the connection failed before the answer was complete.
        unreachable: Whether it is open if there is a server at all: no connection, or no answer in time.
    """

    status: int | None
    code: str
    message: str
    lost: bool = False
    unreachable: bool = False

    @property
    def transient(self) -> bool:
        """Whether the failure is transient: another attempt may succeed."""
        if self.lost:
            return not any(word in self.message for word in _PERMANENT)
        return self.status in _TRANSIENT_STATUS or self.code in _TRANSIENT_CODES

    @property
    def throttled(self) -> bool:
        """Whether the server may have sent a `Retry-After` header."""
        return self.status in (429, 503)

    @property
    def out_of_range(self) -> bool:
        """Whether the object seems to end before the range does."""
        return self.status == 416 or self.message.startswith("other bytes")

    @property
    def advice(self) -> str:
        """What to do about a permanent failure."""
        return _ADVICE.get(self.code) or _ADVICE.get(self.status or 0) or _OTHER_ADVICE

    def __str__(self) -> str:
        quoted = f" ({self.message})" if self.message else ""
        return f"status {self.status}{self.code and ' ' + self.code}{quoted}" if self.status else self.message


def read_failure(text: str) -> RequestFailure:
    """Parse the text of an error of obstore (0.8 to 0.12).

    Texts that match nothing known become permanent failures with their first line as the message.
    """
    if answered := _STATUS.search(text):
        code, message = _read_body(answered[2])
        return RequestFailure(status=int(answered[1]), code=code, message=message)
    flat = re.sub(r"\s+", "", text)  # the nested errors of the debug source, each on a line of its own
    for words, message in _OTHER.items():
        if words in text or words in flat:
            return RequestFailure(status=None, code="", message=message)
    if kind := _OUTER_KIND.search(text):
        message = ": ".join(filter(None, (_CONNECTION.get(kind[1], "the connection failed"), _read_reason(text))))
        unreachable = kind[1] in _UNREACHABLE and _IN_THE_BODY not in flat
        return RequestFailure(status=None, code="", message=message, lost=True, unreachable=unreachable)
    return RequestFailure(status=None, code="", message=_first_line(text))


def _read_reason(text: str) -> str:
    """Return why the system or TLS gave up a connection; "" if the text does not tell."""
    found = _SYSTEM_MESSAGE.search(text)
    return next((reason for word, reason in _REASONS.items() if word in text), found[1] or found[2] if found else "")


def _read_body(body: str) -> tuple[str, str]:
    """Return code and message of S3's error document; only these two, because others hold keys and signed strings.

    Any other body becomes the message, without its tags.
    """
    code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", body) for tag in ("Code", "Message"))
    if code:
        return code[1][:MAX_MESSAGE_CHARS], message[1][:MAX_MESSAGE_CHARS] if message else ""
    return "", " ".join(re.sub(r"<[^>]*>", " ", body).split())[:MAX_MESSAGE_CHARS]


def _first_line(text: str) -> str:
    """Return the first line with each address replaced, because it may hold a login or a signature."""
    return re.sub(r"\w+://\S+", "(address)", text.strip().splitlines()[0] if text.strip() else "")[:MAX_MESSAGE_CHARS]


class ClientPanic(Exception):
    """A panic of the client, as an error like its others."""


@contextmanager
def no_panic() -> Iterator[None]:
    """Turn a panic of the client into an exception: as it comes it is a BaseException, which nobody expects.

    Raises:
        ClientPanic: There was one.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ClientPanic(f"the client of the store failed: {error}; are the variables AWS_* etc. right?") from None
