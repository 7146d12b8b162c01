"""The two ways in which a command ends badly: wrong data (exit 1) and wrong use (exit 2)."""


class DataError(Exception):
    """The data is wrong, damaged or missing: says what was expected, what was found, where, and what to do."""


class UsageError(ValueError):
    """The user asked for something that cannot be done: says what may be asked instead."""
