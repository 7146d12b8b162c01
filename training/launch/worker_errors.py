"""What the errors of loader workers say to a person."""

import re
import traceback
from collections.abc import Iterator

from sharding.errors import DataError, UsageError

_CAUGHT = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.\nOriginal ")


_DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:exited unexpectedly(?: with (exit code \d+))?|is killed by (signal: [^.]+)\.)"
)


def plain_message(error: BaseException) -> str:
    """What a person needs of an error: of one that came out of a loader worker, its own text and the worker.

        Caught DataError in DataLoader worker process 0.
        Original Traceback (most recent call last):
          ...
        sharding.errors.DataError: shard ...                becomes       loader worker 0: shard ...

    The kind of error stays in front of the text if it is none of ours. A worker that died becomes a sentence with its
    process and the signal, if they are known, and what to try. Any other error is its own text.
    """
    text = _text(error)
    if caught := _CAUGHT.match(text):
        kind, worker = caught.groups()
        return f"loader worker {worker}: {_last_error(text, kind)}"
    return _death(error) or text


def _text(error: BaseException) -> str:
    # torch sends its text of a KeyError as an object whose repr is the text
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _last_error(text: str, kind: str) -> str:
    """The text below the last traceback."""
    *_, last = re.finditer(rf"^(?:[\w.]+\.)?{kind}(?:: |$)", text, re.MULTILINE)
    own = text[last.end() :].strip()
    return own if kind in (DataError.__name__, UsageError.__name__) else f"{kind}: {own}".removesuffix(": ")


def worker_died(error: BaseException) -> bool:
    """Whether this error, or one that led to it, is how torch tells that a loader worker is gone."""
    return any(_DIED.search(str(one)) or _broke_off(one) for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those it came of; what was raised first comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _broke_off(error: BaseException) -> bool:
    """Whether the connection over which a worker hands a batch over broke: seen before it is known that it died.

    With pinned memory a thread sees it, and torch tells of that thread alone.
    """
    if str(error) == "Pin memory thread exited unexpectedly":
        return True
    if not isinstance(error, EOFError | ConnectionError | FileNotFoundError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_try_get_data" for frame, _ in frames)


def _death(error: BaseException) -> str | None:
    """The sentence about a dead worker, if this error or one that led to it tells of one; the signal if any does."""
    if not worker_died(error):
        return None
    deaths = [found for one in causes(error) if (found := _DIED.search(str(one)))]
    who = f" (pid {deaths[0][1]})" if deaths else ""
    known = [found[3] or found[2] for found in deaths if found[3] or found[2]]
    return (
        f"a loader worker{who} was killed ({known[0] if known else 'signal not known'}); the usual "
        "cause is that memory ran out: run again with fewer --num-workers, or with more memory or /dev/shm"
    )
