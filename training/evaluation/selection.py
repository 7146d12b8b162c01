"""What a run was trained on, and its best checkpoint chosen on, and whether that is what it is evaluated on."""

from contextlib import suppress
from pathlib import Path

import msgspec

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Text
from sharding.progress import say
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.run_files import read_json
from training.runfolder import FORMER_MONITOR, METRICS_NAME, SetRecord, Which


class _Chosen(msgspec.Struct):
    val: SetRecord
    monitor: Text = FORMER_MONITOR


class _Trained(msgspec.Struct):
    train: SetRecord


def describe_selection(run: Path, samples: ShardSet | None = None) -> str:
    """Say what the best checkpoint of a run folder was chosen on.

    Args:
        run: The run folder.
        samples: What it is evaluated on, if it is; said as well, if it was chosen on that.
    """
    try:
        record = read_json(run / METRICS_NAME, _Chosen)
    except DataError:
        return f"the best checkpoint was chosen on a set that {run / METRICS_NAME} does not tell"
    text = f"the best checkpoint: the lowest {record.monitor} of all epochs on {_describe_val(record.val)}"
    if samples is None or not (shared := _shared(record.val, samples)):
        return text
    what = "this very set" if shared == len(samples) else f"{shared} of these {len(samples)} images"
    return f"{text}; the checkpoint was chosen on {what}, so its numbers are optimistic"


def _describe_val(val: SetRecord) -> str:
    if val.holdout:
        return f"the held-out scenes {', '.join(val.holdout)} of the training set {val.name}"
    return f"the validation set {val.name}" + (f", where {val.where}" if val.where else "")


def count_trained(run: Path, samples: ShardSet) -> int | None:
    """Count the samples that a run folder was trained on, by key; None where nothing tells."""
    try:
        record = read_json(run / METRICS_NAME, _Trained)
    except DataError:
        return None
    return _shared(record.train, samples)


def say_selection(source: str, which: Which) -> None:
    """Print what a checkpoint was chosen on, if it is the best one of a run folder."""
    if which == "best" and Path(source).is_dir():
        say(describe_selection(Path(source)))


def _shared(used: SetRecord, samples: ShardSet) -> int | None:
    """Count the samples that are in a set that was used, by key; None where nothing tells."""
    same = used.identity == samples.manifest.identity
    # A set of other bytes may be of the same views: another preset, another subset.
    address = samples.address if same else used.path
    if not address or (is_remote(address) and not same):
        return None
    with suppress(DataError, UsageError):
        return len(set(ShardSet(address, used.where, samples.cache).rows["key"]) & set(samples.rows["key"]))
    return None
