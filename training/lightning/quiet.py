"""What Lightning says that a run does not need."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

# Warnings of Lightning that do not apply here, as regular expressions.
_NOT_OURS = (
    ".*does not have many workers.*",  # the user chose how many
    ".*isinstance.treespec, LeafSpec.*",  # Lightning 2.6 with a newer torch
    ".*Experiment logs directory .* exists and is not empty.*",  # a resumed run takes its table over
    ".*recommended to use .self.log.'(val|train)_.*sync_dist=True.*",  # the values are reduced over the ranks already
)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's information messages, and its warnings in `_NOT_OURS`; other warnings are shown."""
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _NOT_OURS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        log.setLevel(level)
