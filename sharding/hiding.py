"""Addresses and texts without what must not be shown: logins, queries, secrets of the environment.

Everything here is total: it takes any text, raises nothing, and shows less rather than more of what it cannot parse.
"""

import re
import shlex
from collections.abc import Mapping

from sharding.escaping import shorten

HIDDEN = "(hidden)"
"""What stands for a part that is not shown."""

MAX_CHARS = 1 << 16
"""Characters of a text that is searched for addresses; of a longer one the middle is left out."""

BUCKETS = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
"""Schemes of object stores: their addresses have no login, and a key may contain "@"."""

_LITERAL = (*BUCKETS, "file")  # schemes of which the path is what it is
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]*)(:\d*)?")
_CONTAINER = re.compile(r"[\w$-]+(?=@)")  # abfs://CONTAINER@ACCOUNT/...: not a login
_KNOWN = re.compile(rf"(?:https?|{'|'.join(BUCKETS)})\b\W", re.IGNORECASE)

_IN_TEXT = r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,15}):/{1,4}"
_AT = "[@\uff20\ufe6b]"  # the two that normalize to "@" as well
_LOGIN_IN_TEXT = re.compile(rf"{_IN_TEXT}(\S{{0,400}}{_AT}|[^\s/@]{{0,200}}:[^/\n]{{0,200}}{_AT})")
_NO_PORT = re.compile(rf"({_IN_TEXT}[\w.-]{{1,255}}):(?!PORT\b|\d+(?:[\s/:;,.)'\"?#]|$))[^\s/:;,'\"]+")
_PAIR = re.compile(rf"(?<![^\s/:@'\"])[^\s/:@'\"]{{1,200}}:[^\s/:@'\"]{{1,200}}{_AT}")
_QUERY_IN_TEXT = re.compile(rf"({_IN_TEXT}[^\s?#'\"]{{0,1000}})[?#][^\s'\"]*?(?=[:;,.)]*(?:[\s'\"]|$))")
_SIGNED = re.compile(r"(?i)(\bx-(?:amz|goog|ms)-[a-z-]{1,40}[=:] ?|\bsig=|\bsignature=|\bbearer )[^\s&'\"]+")

_SECRET_NAME = re.compile(r"^(AWS|AZURE|GOOGLE|DEPTHSTREAM)_.*(KEY|SECRET|TOKEN|SAS)")
_SHORTEST_SECRET = 8
"""Characters; shorter values ("true", "1") are not concealed, because they match ordinary text."""

_PROGRAM = re.compile(r"[A-Za-z0-9._+-]{1,32}")


def without_login(url: str) -> str:
    """Return an address without user, password, query, fragment and trailing slash, safe to show.

    What is no well-formed address comes back with "(hidden)" in place of all that may hold a login; a path comes back
    unchanged.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _without_nearly(url)
    scheme = scheme.strip().lower()
    if not _SCHEME.fullmatch(scheme):
        return HIDDEN
    authority, path = _cut(rest)
    container = _CONTAINER.match(authority) if scheme.startswith("abfs") else None
    host = authority.rpartition("@")[2]
    # Behind the host, an "@" tells of a password with "/", "?" or "#" in it: then the "host" is a part of it.
    torn = "@" in rest[len(authority) :] and scheme not in _LITERAL
    if torn or not _HOST.fullmatch(host) or not (host or scheme == "file"):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{f'{container[0]}@' if container else ''}{host}{path}"


def _without_nearly(text: str) -> str:
    """Hide the login of what is almost an address: "http:/u:p@h", "u:p@h/x", but no path such as "/data/a:b@c"."""
    head, at, tail = text.rpartition("@")
    is_address = at and (_KNOWN.match(text) or ":" in head.partition("/")[0])
    return f"{HIDDEN}@{_cut(tail)[0]}" if is_address else text


def _cut(rest: str) -> tuple[str, str]:
    """Return host with login, and path without query, of what follows "://"."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return authority, re.split("[?#]", rest[len(authority) :], maxsplit=1)[0].rstrip("/")


def hide(text: str, environment: Mapping[str, str]) -> str:
    """Remove logins and queries from each address in a text, signatures and tokens, and secrets of the environment."""
    text = _LOGIN_IN_TEXT.sub(_hide_login, shorten(text, MAX_CHARS))
    text = _PAIR.sub(f"{HIDDEN}@", _NO_PORT.sub(rf"\1:{HIDDEN}", text))
    text = _QUERY_IN_TEXT.sub(r"\1", text)
    return conceal(_SIGNED.sub(rf"\1{HIDDEN}", text), environment)


def _hide_login(found: re.Match[str]) -> str:
    scheme, login = found[1], found[2]
    if scheme.lower() == "file":
        return found[0]
    if scheme.lower() not in BUCKETS:
        return f"{scheme}://"
    # An "@" after the first "/" is one of a key, one before it ends a container if there is no password.
    authority, slash, rest = login.partition("/")
    is_login = "@" in authority and not (scheme.lower().startswith("abfs") and ":" not in authority)
    return f"{scheme}://{authority.rpartition('@')[2] if is_login else authority}{slash}{rest}"


def conceal(text: str, environment: Mapping[str, str]) -> str:
    """Replace every secret of the environment in a text, in case a server repeated one in its answer."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.match(name):
            text = text.replace(value, f"({name})")
    return text


COMMAND_NOTE = "(the rest of the command is not saved; give --pipe again)"
"""What a file has in place of the arguments of a command."""


def without_arguments(command: str) -> str:
    """Return the name of the program that a shell command runs, with a note in place of its arguments.

    Any argument may hold a key, and nothing tells which: `curl -H "Authorization: ..."`, `KEY=... fetch`.
    """
    if command.endswith(COMMAND_NOTE):
        return command
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote
        words = command.split()
    first = next((word for word in words if "=" not in word), "")
    name = first.rpartition("/")[2]
    return f"{name if _PROGRAM.fullmatch(name) else 'a command'} {COMMAND_NOTE}"
