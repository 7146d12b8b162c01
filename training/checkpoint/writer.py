"""Writing a checkpoint so that its name always stands for a whole file."""

import errno
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Trainer

from sharding.errors import DataError
from sharding.machine.files import open_atomically
from sharding.progress import say


def save_and_say(trainer: Trainer, path: Path, what: str, weights_only: bool = False) -> None:
    """Save a checkpoint and say what it cost; all ranks must call it."""
    begin = time.monotonic()
    trainer.save_checkpoint(path, weights_only=weights_only)
    if trainer.is_global_zero:
        say(f"saved {path}: {what}; {path.stat().st_size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, renames.

    Lightning's own writes to the system's temporary folder, which may be small, and moves from there, which copies if
    that is another disk: a kill leaves half a file under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write; called on rank 0 alone.

        Raises:
            DataError: It cannot be written, for the disk is full, say; what was there before is untouched.
        """
        try:
            with open_atomically(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer makes the latter of the former
            told = error if isinstance(error, OSError) else error.__context__ or error
            full = isinstance(told, OSError) and told.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise DataError(
                f"{path}: the checkpoint could not be written: {told}; the one before it is whole: "
                f"{'make room, then ' if full else ''}run the same command with --resume"
            ) from error
