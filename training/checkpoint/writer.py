"""Writing a checkpoint so that its name always refers to a whole file."""

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
    """Save a checkpoint and report its size and time; all ranks must call this."""
    begin = time.monotonic()
    trainer.save_checkpoint(path, weights_only=weights_only)
    if trainer.is_global_zero:
        say(f"saved {path}: {what}; {path.stat().st_size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


class AtomicCheckpointIO(TorchCheckpointIO):
    """A writer of checkpoints that are whole or absent: written next to the target, flushed to the disk, renamed.

    Lightning's own writer uses the system's temporary folder, which may be small, and moves the file from there, which
    copies it if that is another disk: a kill then leaves half a file under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; Lightning calls this on rank 0 only.

        Raises:
            DataError: It cannot be written, for instance because the disk is full; the file from before is unchanged.
        """
        try:
            with open_atomically(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer turns the former into the latter
            cause = error if isinstance(error, OSError) else error.__context__ or error
            full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise DataError(
                f"{path}: the checkpoint could not be written: {cause}; the one before it is whole: "
                f"{'make room, then ' if full else ''}run the same command with --resume"
            ) from error
