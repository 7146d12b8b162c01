"""Finished runs of the ablations: results are taken over only from runs of the same recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from learning_bench.arms import ARMS
from sharding.errors import UsageError
from training.run_files import read_json


class Run(TypedDict):
    """The result of a run.

    `recipe` is that of `Recipe.describe`; the other fields are those of `judge`. A metric of a run that diverged is
    NaN, or None where `--json` printed it.
    """

    recipe: NotRequired[dict[str, Any]]
    metrics: dict[str, float | None]
    edge_cleaned: dict[str, float | None]
    images: int
    seconds: float
    epochs: int
    revision: str | None


class Printed(TypedDict):
    """What is read of the JSON that `ablations.py` prints."""

    runs: dict[str, Run]


def read_known(files: Sequence[str], images: int, threads: int) -> dict[str, Run]:
    """Read the runs of earlier calls from the JSON that they printed.

    Args:
        files: The files.
        images: Training views of this call.
        threads: Threads of torch in this call.

    Returns:
        The runs by "ARM-SEED".

    Raises:
        UsageError: A run is of an unknown arm or of another recipe, or two files differ in it.
        DataError: A file cannot be read, or is not of this form.
    """
    known: dict[str, Run] = {}
    for file in files:
        for key, found in read_json(Path(file), Printed)["runs"].items():
            check_recipe(key, found, images, threads, f"--known {file}")
            if known.setdefault(key, found) != found:
                raise UsageError(f"--known {file}: {key}: expected the results of another --known, found others")
    return known


def check_recipe(key: str, found: Run, images: int, threads: int, where: str) -> None:
    """Check that a run was made as this call would make it.

    Args:
        key: "ARM-SEED".
        found: The run.
        images: As for `read_known`.
        threads: As for `read_known`.
        where: Name of its file, for messages.

    Raises:
        UsageError: It was not; names what differs.
    """
    arm, _, seed = key.rpartition("-")
    if arm not in ARMS or not seed.isdecimal():
        raise UsageError(f"{where}: expected runs ARM-SEED of the arms {', '.join(ARMS)}, found {key}")
    if "recipe" not in found:
        raise UsageError(f"{where}: {key}: expected the recipe of the run, found none; train it again")
    expected = ARMS[arm].describe(seed=int(seed), images=images, threads=threads)
    recipe = found["recipe"]
    differing = [
        f"{name}: expected {expected.get(name, 'none')}, found {recipe.get(name, 'none')}"
        for name in {**expected, **recipe}
        if expected.get(name) != recipe.get(name)
    ]
    if differing:
        raise UsageError(f"{where}: {key} is of another recipe: {'; '.join(differing)}; take it out, or train it again")
