"""How a command ends early: wrong data (exit 1), wrong use (exit 2), or a signal (exit 128 + its number)."""


class DataError(Exception):
    """Wrong, damaged or missing data: the text names what was expected, what was found, where, and what to do."""


class UsageError(ValueError):
    """A request that cannot be fulfilled: the text names what can be requested instead."""


class Interrupted(Exception):
    """An orderly stop after a signal: the text tells what was saved and how to resume.

    Args:
        signal_number: Number of the signal; the exit status is 128 plus this, as in a shell.
        text: The message.
    """

    def __init__(self, signal_number: int, text: str) -> None:
        super().__init__(text)
        self.signal_number = signal_number
