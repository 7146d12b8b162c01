"""The ways in which a command ends early: wrong data (exit 1), wrong use (exit 2), or because it was asked to."""


class DataError(Exception):
    """The data is wrong, damaged or missing: says what was expected, what was found, where, and what to do."""


class UsageError(ValueError):
    """The user asked for something that cannot be done: says what may be asked instead."""


class Interrupted(Exception):
    """The process was asked to stop by a signal and did so in order: says what was kept, and how to go on.

    Args:
        signal_number: Of the signal; the exit status is 128 more, as a shell has it.
        text: For people.
    """

    def __init__(self, signal_number: int, text: str) -> None:
        super().__init__(text)
        self.signal_number = signal_number
