"""Where a fine-tuning run keeps its checkpoints."""

from pathlib import Path
from typing import Literal

from sharding.errors import DataError
from training.checkpoint.newest import FOLDER_NAME

Which = Literal["best", "last"]


def checkpoint_path(run: str | Path, which: Which) -> Path:
    """RUN/checkpoints/WHICH.ckpt, whether it is there or not."""
    return Path(run) / FOLDER_NAME / f"{which}.ckpt"


def find_checkpoint(source: str | Path, which: Which = "best") -> Path:
    """The checkpoint that `source` means: a file, or a run folder of `finetune`.

    Raises:
        DataError: There is none.
    """
    path = Path(source)
    file = checkpoint_path(path, which) if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"expected a checkpoint at {file}, found none; give a run folder of `depthstream finetune`, or a checkpoint"
        )
    return file
