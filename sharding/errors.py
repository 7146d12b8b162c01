"""How a command ends early: wrong data (exit 1), wrong use (exit 2), or a signal (exit 128 + its number)."""

import contextlib
from collections.abc import Iterator


class DataError(Exception):
    """Wrong, damaged or missing data: the text names what was expected, what was found, where, and what to do."""


class DamagedSample(DataError):
    """A sample whose bytes are there and wrong: reading them again gives no others. All other samples can be read."""


class UsageError(ValueError):
    """A request that cannot be fulfilled: the text names what can be requested instead."""


@contextlib.contextmanager
def named_by_user() -> Iterator[None]:
    """Turn a DataError of the block into a UsageError: what is missing is a path that the user gave."""
    try:
        yield
    except DataError as error:
        raise UsageError(str(error)) from error


class Interrupted(Exception):
    """An orderly stop after a signal: the text tells what was saved and how to resume.

    Args:
        signal_number: Number of the signal; the exit status is 128 plus this, as in a shell.
        text: The message.
    """

    def __init__(self, signal_number: int, text: str) -> None:
        super().__init__(text)
        self.signal_number = signal_number
