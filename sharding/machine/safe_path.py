"""Python processes that import nothing from the current folder, which may be anybody's.

`python -c` and `python -m` put that folder first on the path of modules: a `json.py` in it would be executed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE, _OURS = "PYTHONSAFEPATH", "depthstream"  # any text does; this one tells that it was set here


@contextmanager
def safe_path_in_children() -> Iterator[None]:
    """Keep Python processes that are started in the block from importing from the current folder."""
    if os.environ.get(_VARIABLE):  # the user's own setting
        yield
        return
    os.environ[_VARIABLE] = _OURS
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def forget_safe_path() -> None:
    """Let programs of the user, which this process starts, find their modules as usual."""
    if os.environ.get(_VARIABLE) == _OURS:
        del os.environ[_VARIABLE]
