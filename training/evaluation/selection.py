"""What the best checkpoint of a run was chosen on, in words, and whether that was what it is evaluated on."""

from contextlib import suppress
from pathlib import Path

import msgspec

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Text
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.run_files import read_json
from training.runfolder import METRICS_NAME, Which


class _ChosenOn(msgspec.Struct):
    identity: Text
    name: Text = ""
    where: Text | None = None
    path: Text = ""
    holdout: list[Text] | None = None

    def describe(self) -> str:
        """Name the set in words."""
        if self.holdout:
            return f"the held-out scenes {', '.join(self.holdout)} of the training set {self.name}"
        return f"the validation set {self.name}" + (f", where {self.where}" if self.where else "")

    def keys(self, address: str) -> set[str]:
        """Return the keys of its samples, if the set is at an address."""
        index = ShardSet(address, self.where).index
        return set(index["key"][index["scene"].isin(self.holdout)] if self.holdout else index["key"])


class _Record(msgspec.Struct):
    """What is read of the metrics.json of a run; one that names no monitor was chosen by abs_rel."""

    val: _ChosenOn
    monitor: Text = "abs_rel"


def describe_selection(run: Path, samples: ShardSet | None = None) -> str:
    """Say what the best checkpoint of a run folder was chosen on.

    Args:
        run: The run folder.
        samples: What it is evaluated on, if it is; said as well, if it was chosen on that.
    """
    try:
        record = read_json(run / METRICS_NAME, _Record)
    except DataError:
        return f"the best checkpoint was chosen on a set that {run / METRICS_NAME} does not tell"
    text = f"the best checkpoint: the lowest {record.monitor} of all epochs on {record.val.describe()}"
    if samples is None or not (shared := _shared(record.val, samples)):
        return text
    what = "this very set" if shared == len(samples) else f"{shared} of these {len(samples)} images"
    return f"{text}; the checkpoint was chosen on {what}, so its numbers are optimistic"


def say_selection(source: str, which: Which) -> None:
    """Print what a checkpoint was chosen on, if it is the best one of a run folder."""
    if which == "best" and Path(source).is_dir():
        say(describe_selection(Path(source)))


def _shared(chosen: _ChosenOn, samples: ShardSet) -> int:
    """Count the samples that the checkpoint was chosen on, by key; 0 where nothing tells."""
    same = chosen.identity == samples.manifest.identity
    # A set of other bytes may be of the same views: another preset, another subset.
    address = samples.address if same else chosen.path
    if not address or (is_remote(address) and not same):
        return 0
    with suppress(DataError, UsageError):
        return len(chosen.keys(address) & set(samples.index["key"]))
    return 0
