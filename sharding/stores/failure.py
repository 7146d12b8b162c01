"""What came back instead of the bytes that were asked for: a server's status, or a connection that failed.

Read from the text of an object-store client's error, which is all that the client tells; credentials, addresses and
query strings that may stand in that text are left behind.
"""

import re
from dataclasses import dataclass

_STATUS = re.compile(r"non-2xx status code: (\d{3})[^:\n]*: ?(.*?)(?=\n\nDebug source:|\Z)", re.DOTALL)
_OUTER_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_SYSTEM_MESSAGE = re.compile(r'Os \{[^}]*message: "([^"]*)"|Custom \{[^}]*error: "([^"]*)"')

_CONNECTION = {
    "Timeout": "nothing, or not all of it, came in time",
    "Connect": "no connection",
    "Interrupted": "the connection broke",
    "Request": "the connection closed before an answer",
}
_OTHER = {
    "redirect without LOCATION": "the bucket is in another region: set AWS_REGION",
    "Range request not supported": "the server does not send parts of objects: copy the set, or stream it whole",
    "non-partial response": "the server does not send parts of objects: copy the set, or stream it whole",
    "Requested ": "other bytes came than were asked for",
}
"""What obstore makes out of an answer, and what it means here."""

_PASSING_STATUS = (408, 429, *(set(range(500, 600)) - {501, 505}))
_PASSING_CODES = ("RequestTimeout",)  # S3 sends it with status 400
_TLS = {"InvalidCertificate": "its certificate is not trusted here", "InvalidContentType": "it does not speak TLS"}
_LASTING = ("Name or service not known", "nodename nor servname provided", *_TLS.values())
"""Failures to connect that another attempt does not mend."""

_ADVICE = {
    "ExpiredToken": "the credentials have expired: get new ones (with SSO: `aws sso login`) and run again",
    "InvalidAccessKeyId": "the server does not know the access key: check AWS_ACCESS_KEY_ID or the profile, and that "
    "AWS_ENDPOINT_URL names the right server",
    "SignatureDoesNotMatch": "the secret does not belong to the access key: check AWS_SECRET_ACCESS_KEY or the profile",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "NoSuchBucket": "there is no such bucket: check the address",
    401: "the server wants a login: for http(s) set DEPTHSTREAM_HTTP_TOKEN, else check the credentials",
    403: "the credentials have no right to read this, or there is no such object: check both",
    404: "there is no such object: check the address, and that the set is whole",
    416: "the object is shorter than the set says: get a whole copy of the set",
}
_OTHER_ADVICE = "check the address and what the server allows"
MAX_SAID = 200
"""Characters of a server's words that are shown."""


@dataclass(frozen=True, kw_only=True)
class RequestFailure:
    """Why bytes did not come.

    Attributes:
        status: HTTP status; None if no answer came.
        code: Of S3's error document, such as "SlowDown"; "" without one.
        message: What the server said, or what happened to the connection.
        lost: Whether the connection failed before the answer was whole.
    """

    status: int | None
    code: str
    message: str
    lost: bool = False

    @property
    def passing(self) -> bool:
        """Whether another attempt may succeed."""
        if self.lost:
            return not any(word in self.message for word in _LASTING)
        return self.status in _PASSING_STATUS or self.code in _PASSING_CODES

    @property
    def throttled(self) -> bool:
        """Whether the server may have said, in a header, when to come back."""
        return self.status in (429, 503)

    @property
    def out_of_range(self) -> bool:
        """Whether the object seems to end before the range does."""
        return self.status == 416 or self.message.startswith("other bytes")

    @property
    def advice(self) -> str:
        """What to do about one that does not pass."""
        return _ADVICE.get(self.code) or _ADVICE.get(self.status or 0) or _OTHER_ADVICE

    def __str__(self) -> str:
        said = f" ({self.message})" if self.message else ""
        return f"status {self.status}{self.code and ' ' + self.code}{said}" if self.status else self.message


def read_failure(text: str) -> RequestFailure:
    """Make out of the text of obstore's error (0.8 to 0.12) what the server said or what happened to the connection."""
    if answered := _STATUS.search(text):
        code, message = _read_body(answered[2])
        return RequestFailure(status=int(answered[1]), code=code, message=message)
    for words, message in _OTHER.items():
        if words in text:
            return RequestFailure(status=None, code="", message=message)
    if kind := _OUTER_KIND.search(text):
        message = ": ".join(filter(None, (_CONNECTION.get(kind[1], "the connection failed"), _read_reason(text))))
        return RequestFailure(status=None, code="", message=message, lost=True)
    return RequestFailure(status=None, code="", message=_first_line(text))


def _read_reason(text: str) -> str:
    """What the system, or TLS, says of a connection; "" if nothing."""
    said = _SYSTEM_MESSAGE.search(text)
    return next((reason for word, reason in _TLS.items() if word in text), said[1] or said[2] if said else "")


def _read_body(body: str) -> tuple[str, str]:
    """Code and message of an error document; only these two, for others hold keys and what was signed."""
    code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", body) for tag in ("Code", "Message"))
    if code:
        return code[1][:MAX_SAID], message[1][:MAX_SAID] if message else ""
    return "", " ".join(re.sub(r"<[^>]*>", " ", body).split())[:MAX_SAID]


def _first_line(text: str) -> str:
    """The first line, without what an address may hold."""
    return re.sub(r"\w+://\S+", "(address)", text.strip().splitlines()[0] if text.strip() else "")[:MAX_SAID]
