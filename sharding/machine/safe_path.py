"""Commands and fork servers of Python that import nothing from the current folder, which may be anybody's.

`python -c` and `python -m` put that folder first on the path of modules: a `json.py` in it would be executed.
"""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SAFE, _PATH, _OURS = "PYTHONSAFEPATH", "PYTHONPATH", "depthstream"  # any text is safe; this one tells who set it
_ROOT = str(Path(__file__).parents[2])


@contextmanager
def safe_path_in_children() -> Iterator[None]:
    """Keep Python processes that are started in the block from importing from there; they find this package."""
    given = {name: os.environ.get(name) for name in (_SAFE, _PATH)}
    os.environ.setdefault(_SAFE, _OURS)
    if _ROOT not in map(sysconfig.get_path, ("purelib", "platlib")):  # run from a checkout, perhaps not installed
        os.environ[_PATH] = os.pathsep.join(filter(None, (_ROOT, given[_PATH])))
    try:
        yield
    finally:
        for name, value in given.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def forget_safe_path() -> None:
    """Let programs of the user, which this process starts, find their modules as usual."""
    if os.environ.get(_SAFE) == _OURS:
        del os.environ[_SAFE]
