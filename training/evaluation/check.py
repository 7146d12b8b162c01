"""What is wrong with the options of `evaluate` and `predict`, found without torch."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sharding.codecs.log16 import is_log16
from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_writable
from sharding.machine.regular import open_regular
from sharding.reading.check import check_set
from sharding.reading.missing import suggest_path
from training.config import EvaluateConfig, PredictConfig, cache_settings
from training.launch.launcher import check_accelerator
from training.runfolder import find_checkpoint, load_config

ARRAY, CODED, VIEW = ".npy", ".depth.png", ".view.png"
"""How the names of the three results of `predict` end, behind the stem of the image."""


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
            found = "a folder" if Path(image).is_dir() else "something else"
            found = found if Path(image).exists() else f"nothing{suggest_path(Path(image))}"
            raise UsageError(f"{image}: expected an image file, found {found}")
    check_results(config.images, config.out)


def check_results(images: Sequence[str], out: str) -> None:
    """Check that results replace neither those of another image, nor an image.

    Raises:
        UsageError: They would.
    """
    stems = Counter(Path(image).stem for image in images)
    if twice := sorted(stem for stem, times in stems.items() if times > 1):
        raise UsageError(
            f"several images are called {', '.join(twice)}, and their depth maps would overwrite each other; "
            "predict them into folders of their own"
        )
    given = {os.path.realpath(image): image for image in images}
    for stem in stems:
        files = [Path(out, stem + ending) for ending in (CODED, ARRAY, VIEW)]
        for file in files:
            if replaced := given.get(os.path.realpath(file)):
                raise UsageError(f"--out {out}: a result of {stem} would replace {replaced}; give another folder")
        if there := [file for file in files if os.path.lexists(file)]:
            _check_ours(files[0], there[0])


def _check_ours(coded: Path, there: Path) -> None:
    """Check that results which are replaced are of `predict`, as the one that it writes first tells.

    Raises:
        UsageError: They are not.
    """
    head = b""
    with suppress(OSError), open_regular(coded) as file:
        head = os.read(file, 512)
    if not is_log16(head):
        raise UsageError(
            f"{there}: a result would replace it, and nothing tells that `predict` wrote it, as {coded.name} of an "
            "earlier run would; remove it, or give another folder"
        )
