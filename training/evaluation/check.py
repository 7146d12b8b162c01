"""What is wrong with the options of `evaluate` and `predict`, found without torch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_writable
from sharding.reading.check import check_set
from sharding.reading.missing import suggest_path
from training.config import EvaluateConfig, PredictConfig, cache_settings
from training.launch.launcher import check_accelerator
from training.runfolder import find_checkpoint, load_config


def check_evaluate(config: EvaluateConfig) -> None:
    """Check run, set and device of `evaluate`; makes no file.

    Raises:
        UsageError: One of them is missing.
        DataError: The set is damaged, or cannot be reached.
    """
    check_accelerator(config.accelerator)
    with named_by_user():
        load_config(config.run)
        find_checkpoint(config.run, config.checkpoint)
    check_set(config.set, config.where, cache_settings(config))


def check_predict(config: PredictConfig) -> None:
    """Check run, images and device of `predict`; makes no file.

    Raises:
        UsageError: One of them is missing, or the folder for the results cannot be one.
    """
    check_accelerator(config.accelerator)
    check_writable(config.out, "--out", folder=True)
    with named_by_user():
        find_checkpoint(config.run, config.checkpoint)
    for image in config.images:
        if not Path(image).is_file():
            found = "a folder" if Path(image).is_dir() else f"nothing{suggest_path(Path(image))}"
            raise UsageError(f"{image}: expected an image file, found {found}")
    check_stems(config.images)


def check_stems(images: Sequence[str]) -> None:
    """Check that no two images have results of the same name.

    Raises:
        UsageError: They have.
    """
    stems = Counter(Path(image).stem for image in images)
    if twice := sorted(stem for stem, times in stems.items() if times > 1):
        raise UsageError(
            f"several images are called {', '.join(twice)}, and their depth maps would overwrite each other; "
            "predict them into folders of their own"
        )
