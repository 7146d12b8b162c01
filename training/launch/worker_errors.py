"""Plain messages for errors that come out of loader workers.

torch raises such an error again in the main process, as a traceback in text form, and reports a dead worker in
several ways, depending on which process or thread notices first. Here each becomes a plain message.
"""

import contextlib
import re
import traceback
from collections.abc import Iterator

from sharding.errors import DamagedSample, DataError, UsageError
from training.launch.whereabouts import last_notes

# Formats of torch 2: `ExceptionWrapper.reraise` in torch/_utils.py for what a worker raised; the signal handler (C++)
# and `_try_get_data` in torch/utils/data/dataloader.py for a worker that died.
_CAUGHT = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.\nOriginal ")
_DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:exited unexpectedly(?: with (exit code \d+))?|is killed by (signal: [^.]+)\.)"
)


def plain_message(error: BaseException) -> str:
    """Return what a person needs of an error; of one raised in a loader worker, its own text and the worker.

        Caught DataError in DataLoader worker process 0.
        Original Traceback (most recent call last):
          ...
        sharding.errors.DataError: shard ...                becomes       loader worker 0: shard ...

    The type stays in front of the text unless it is `DataError` or `UsageError`. A worker that died becomes a sentence
    with its process id and the signal, if they are known, the sample it was at, and what to try. Any other error is its
    own text.
    """
    text = _text(error)
    if caught := _CAUGHT.match(text):
        return f"{name_worker(error)}: {_last_error(text, caught[1])}"
    return _death(error) or text


def name_worker(error: BaseException) -> str | None:
    """Return "loader worker N" if that one raised the error; None if this process did."""
    caught = _CAUGHT.match(_text(error))
    return f"loader worker {caught[2]}" if caught else None


@contextlib.contextmanager
def naming_workers() -> Iterator[None]:
    """Tell in a line what went wrong with data in a loader worker, or that one died.

    Raises:
        DataError: That happened within; other errors stay as they are, with their tracebacks.
    """
    try:
        yield
    except Exception as error:
        if worker_died(error) or (isinstance(error, DataError | UsageError) and name_worker(error)):
            raise DataError(plain_message(error)) from error
        raise


def worker_died(error: BaseException) -> bool:
    """Return whether this error, or one in its chain, is how torch reports that a loader worker is gone."""
    return any(_DIED.search(str(one)) or _broke_off(one) for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its chain of causes and contexts; the one raised first comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    # torch wraps the text of a KeyError in an object whose repr is the text, as str(KeyError) would escape line breaks
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _last_error(text: str, kind: str) -> str:
    """Return the text below the last traceback; earlier ones are of the errors that led to it."""
    *_, last = re.finditer(rf"^(?:[\w.]+\.)?{kind}(?:: |$)", text, re.MULTILINE)
    own = text[last.end() :].strip()
    plain = {one.__name__ for one in (DamagedSample, DataError, UsageError)}
    return own if kind in plain else f"{kind}: {own}".removesuffix(": ")


def _broke_off(error: BaseException) -> bool:
    """Return whether the connection that carries a worker's batches broke, which is noticed before its death is.

    With pinned memory, a thread of the main process notices, and torch reports only that this thread ended.
    """
    if str(error) == "Pin memory thread exited unexpectedly":
        return True
    if not isinstance(error, EOFError | ConnectionError | FileNotFoundError):
        return False
    # These types are common: only those raised while torch waits for a batch are about a worker.
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_try_get_data" for frame, _ in frames)


def _death(error: BaseException) -> str | None:
    """Return the sentence about a dead worker, with the signal if an error names it; None if no worker died."""
    if not worker_died(error):
        return None
    deaths = [found for one in causes(error) if (found := _DIED.search(str(one)))]
    process = f" (pid {deaths[0][1]})" if deaths else ""
    known = [found[3] or found[2] for found in deaths if found[3] or found[2]]
    notes = last_notes([int(pid) for found in deaths for pid in found[1].split(",")])
    doing = f" while {' and '.join(notes)}" if notes else ""
    return (
        f"a loader worker{process} was killed ({known[0] if known else 'signal not known'}){doing}; the usual "
        "cause is that memory ran out: run again with fewer --num-workers, or with more memory or /dev/shm; if the "
        "worker has written an error above, that is the cause"
    )
