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
from training.checkpoint.saved_run import EXPECTED
from training.network.saved import load_saved
from training.torch_file import check_torch_file


def save_and_say(trainer: Trainer, path: Path, what: str, weights_only: bool = False) -> None:
    """Save a checkpoint and report its size and time; all ranks must call this."""
    begin = time.monotonic()
    trainer.save_checkpoint(path, weights_only=weights_only)
    if trainer.is_global_zero:
        say(f"saved {path}: {what}; {path.stat().st_size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


class AtomicCheckpointIO(TorchCheckpointIO):
    """A writer of checkpoints that are whole or absent: written next to the target, flushed to the disk, renamed.

    Lightning's own writer uses the system's temporary folder, which may be small, and moves the file from there, which
    copies it if that is another disk: a kill then leaves half a file under the final name. They hold plain values
    alone, which is checked when they are written, and are read as such, whatever file is there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; Lightning calls this on rank 0 only.

        Raises:
            DataError: It cannot be written, for instance because the disk is full; the file from before is unchanged.
        """
        try:
            with open_atomically(Path(path)) as file:
                torch.save(checkpoint, file)
                file.flush()
                check_torch_file(Path(file.name), EXPECTED)
        except (OSError, RuntimeError) as error:  # torch's writer turns the former into the latter
            cause = error if isinstance(error, OSError) else error.__context__ or error
            full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise DataError(
                f"{path}: the checkpoint could not be written: {cause}; the one before it is whole: "
                f"{'make room, then ' if full else ''}run the same command with --resume"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, and run nothing that is in it, whatever `weights_only` says.

        Raises:
            DataError: It is damaged, or holds anything but tensors and plain values.
        """
        # Not mapped: the trainer keeps what it is given, and the file would stay on the disk after it was replaced.
        content: dict[str, Any] = load_saved(Path(path), EXPECTED, mapped=False)
        return content
