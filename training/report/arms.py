"""Run folders as arms of a comparison: options, curves, and which sets they were made with. Loads no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from sharding.stores.node_cache import CacheSettings
from training.evaluation.metric_names import count
from training.evaluation.results import SetInfo
from training.finetuning.record import RunSets, read_curves
from training.report.comparison import Epoch
from training.run_files import read_json
from training.runfolder import METRICS_NAME, load_config


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run of `depthstream finetune`.

    Attributes:
        name: Name of the folder, and of the arm.
        folder: The folder.
        config: Resolved options.
        history: Epochs in order.
        identities: Identity of the "train" and the "val" set when the run was made.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    history: tuple[Epoch, ...]
    identities: dict[str, str]

    def open(self, split: str, cache: CacheSettings | None = None) -> ShardSet:
        """Open the "train" or the "val" set, or the subset of it that the run used.

        Raises:
            DataError: The set is missing or unfinished.
        """
        return ShardSet(self.config["set" if split == "train" else "val"], self.config.get("where"), cache)


def read_run(folder: str | Path) -> RunFolder:
    """Read the folder of a fine-tuning run.

    Raises:
        DataError: It is not a run folder, or no epoch is finished.
    """
    path = Path(folder)
    config, file = load_config(path), path / METRICS_NAME
    if "set" not in config or not file.exists():
        raise DataError(
            f"{folder}: expected {METRICS_NAME}, found none; is it a run of `depthstream finetune` with an epoch done?"
        )
    record = read_json(file, RunSets)
    history = tuple(_epoch(row) for row in read_curves(path))
    return RunFolder(
        name=path.resolve().name,
        folder=path,
        config=config,
        history=history,
        identities={"train": record.train.identity, "val": record.val.identity},
    )


def _epoch(row: dict[str, float]) -> Epoch:
    return Epoch(
        epoch=int(row["epoch"]) + 1,  # from 0 in curves.csv
        train_loss=_finite(row.get("train_loss")),
        val_abs_rel=_finite(row.get("val_abs_rel")),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def open_val(runs: Sequence[RunFolder], cache: CacheSettings | None = None) -> ShardSet:
    """Open the set that all runs were validated on.

    Raises:
        UsageError: They were validated on different sets.
    """
    opened = [one.open("val", cache) for one in runs]
    if len({SetInfo.of(samples).key for samples in opened}) > 1:
        found = "; ".join(
            f"{one.name} on {SetInfo.of(samples).describe()}" for one, samples in zip(runs, opened, strict=True)
        )
        raise UsageError(
            "these runs cannot be compared because they were validated on different sets, and a metric depends on its "
            f"images: {found}. Compare runs of one validation set and one --where"
        )
    return opened[0]


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """A training set, and the runs that were trained on it.

    Attributes:
        samples: The set, or the subset.
        runs: The runs trained on it.
    """

    samples: ShardSet
    runs: tuple[RunFolder, ...]


def open_trained(runs: Sequence[RunFolder], cache: CacheSettings | None = None) -> list[TrainedOn]:
    """Open the training sets, and group the runs by them."""
    # By identity and query, so that a set read from two places is one group.
    groups: dict[tuple[str, str | None], TrainedOn] = {}
    for one in runs:
        samples = one.open("train", cache)
        key = SetInfo.of(samples).key
        before = groups[key].runs if key in groups else ()
        groups[key] = TrainedOn(samples=samples, runs=(*before, one))
    return list(groups.values())


def find_warnings(trained: Sequence[TrainedOn], val: ShardSet) -> list[str]:
    """Find what limits the comparison, in whole sentences: other training sets, changed sets, missing epochs."""
    runs = [one for group in trained for one in group.runs]
    found = [_different_sets(trained)] if len(trained) > 1 else []
    found += [
        _changed(one, "train", group.samples)
        for group in trained
        for one in group.runs
        if one.identities["train"] != group.samples.manifest.identity
    ]
    found += [_changed(one, "val", val) for one in runs if one.identities["val"] != val.manifest.identity]
    found += [
        f"{one.name} has not finished: {len(one.history)} of {count(int(one.config['epochs']), 'epoch')} are done."
        for one in runs
        if len(one.history) < int(one.config["epochs"])
    ]
    return found


def _different_sets(trained: Sequence[TrainedOn]) -> str:
    found = "; ".join(
        f"{', '.join(one.name for one in group.runs)} on {SetInfo.of(group.samples).describe()}" for group in trained
    )
    return (
        f"The arms were not trained on the same set: {found}. They differ in their data, not only in their options, "
        "and each is compared with the baselines of its own training set."
    )


def _changed(one: RunFolder, split: str, samples: ShardSet) -> str:
    follows = (
        "the baselines are those of the current set"
        if split == "train"
        else "the table is of the current set, the learning curve of the former"
    )
    return (
        f"The {split} set of {one.name} has changed since it ran (identity {one.identities[split][:12]}, now "
        f"{samples.manifest.identity[:12]} at {samples.url}): {follows}."
    )
