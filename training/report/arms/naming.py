"""What an arm is called: its run folder, or what the names of its run folders have in common."""

import re
from collections.abc import Sequence
from itertools import takewhile

_SEED = re.compile(r"[-_. ]*(seed|run|rep|s)?[-_.=]?[0-9]+$", re.IGNORECASE)
_REST = re.compile(r"[-_. ]+(seed|run|rep|s)?[-_.=]*$|^(seed|run|rep|s)?[-_.=]*$", re.IGNORECASE)


def common_name(names: Sequence[str]) -> str:
    """Return the name of one run; of several what their names have in common, without the seed; "" if that is nothing.

    Example:
        >>> common_name(["scratch-seed0", "scratch-seed1"])
        'scratch'
    """
    if len(names) == 1:
        return names[0]
    shorter = {_SEED.sub("", name) for name in names}
    if len(shorter) == 1 and (name := shorter.pop()):
        return name
    start = _REST.sub("", _common_start(names))
    if start:
        return start
    return _reversed(_REST.sub("", _common_start([_reversed(name) for name in names]))).lstrip("-_. ")


def _common_start(names: Sequence[str]) -> str:
    columns = zip(*names, strict=False)  # as long as the shortest
    return "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, columns))


def _reversed(text: str) -> str:
    return text[::-1]
