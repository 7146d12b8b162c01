"""The sets of a finished run, compared with those that it is given again; from manifests alone."""

from pathlib import Path

import msgspec

from sharding.errors import UsageError
from sharding.reading.missing import explain_missing
from sharding.reading.shard_set import read_manifest
from sharding.stores.address import is_remote, shown
from sharding.stores.opening import open_store
from training.config import FinetuneConfig
from training.run_files import read_json
from training.runfolder import METRICS_NAME, SetRecord

_SHOWN_DIGITS = 12


class _Sets(msgspec.Struct):
    train: SetRecord | None = None
    val: SetRecord | None = None


def check_recorded_sets(config: FinetuneConfig) -> None:
    """Check that the sets of a finished run are still those that it was trained and validated on.

    A set that is gone is not needed any more; one behind a URL is not asked for, as nothing will be read of it.

    Raises:
        UsageError: One has another content; the message has both identities.
        DataError: A manifest, or the record of the run, cannot be read.
    """
    record = read_json(Path(config.out) / METRICS_NAME, _Sets)
    val = config.val if config.holdout_scenes is None else None  # else it was not opened
    for name, address, before in (("train", config.set, record.train), ("val", val, record.val)):
        if before is None or address is None or is_remote(address) or explain_missing(address):
            continue
        found = read_manifest(open_store(address), shown(address)).identity
        if found != before.identity:
            raise UsageError(
                f"--resume: the {name} set of {config.out} was {before.name} with identity "
                f"{before.identity[:_SHOWN_DIGITS]}, but {address} has {found[:_SHOWN_DIGITS]} now; give that one, or "
                "begin another run with another --out"
            )
