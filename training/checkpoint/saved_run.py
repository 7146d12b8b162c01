"""What every checkpoint of a run holds, whichever trainer wrote it; read without running anything in it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from sharding.format.strict_json import Count, to_type
from training.network.saved import load_saved

EXPECTED = "a checkpoint of plain values"
"""What is expected, for messages."""


class SavedRun(msgspec.Struct, kw_only=True):
    """The entries that resuming needs, by their types; what is in them is compared with the trainer's own later."""

    epoch: Count
    global_step: Count
    version: Annotated[str, msgspec.Meta(pattern=r"^2\.[0-9]{1,3}\.[0-9]{1,3}((rc|\.dev|\.post)[0-9]{1,9})?$")] = (
        msgspec.field(name="pytorch-lightning_version")
    )
    state_dict: dict[str, Any]
    loops: dict[str, dict[str, Any]]
    callbacks: dict[str, dict[str, Any]]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]


def read_saved_run(path: Path, expected: str = EXPECTED) -> dict[str, Any]:
    """Read a checkpoint to resume from; its tensors are mapped from the file until they are used.

    Args:
        path: The file.
        expected: What it should be, for the message.

    Raises:
        DataError: It is damaged, is no such checkpoint, or holds anything but tensors and plain values.
    """
    content: dict[str, Any] = load_saved(path, expected)
    to_type(content, SavedRun, str(path))
    return content
