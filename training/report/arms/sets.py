"""Where the sets of a run are now: by the recorded path, by the options, or as given; found by identity."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import DataError, UsageError
from sharding.reading.missing import explain_missing
from sharding.reading.shard_set import read_manifest
from sharding.stores.address import is_remote, shown
from sharding.stores.opening import open_store
from training.depth_options import choose_val_where
from training.report.arms.run import Run


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of a set that a run used, or is to be judged on.

    Attributes:
        name: Name of the set; "" if it was not recorded.
        identity: Hash of its content; None for a set that the run never opened.
        where: Condition on the index; None means all.
        path: Absolute path or URL that was recorded; None if none was.
        given: Address in the options of the run.
        held_out: Whether it consists of scenes that were held out of the training set.
    """

    name: str
    identity: str | None
    where: str | None
    path: str | None
    given: str
    held_out: bool = False

    @property
    def key(self) -> tuple[str | None, str | None]:
        """Return what decides whether two runs used the same part."""
        return self.identity or self.path, self.where

    def describe(self) -> str:
        """Describe it in a few words."""
        where = f", where {self.where}" if self.where else ""
        identity = f" (identity {self.identity[:12]})" if self.identity else ""
        return f"{self.name or self.given}{where}{identity}"


def trained_on(run: Run) -> Part:
    """Return what a run was trained on: its training set without the held-out scenes."""
    record = run.facts.train
    return Part(
        name=record.name,
        identity=record.identity,
        where=record.where or run.config["where"],
        path=record.path,
        given=str(run.config["set"]),
    )


def judged_on(run: Run) -> Part:
    """Return what a run is to be judged on: its validation set, or without one the scenes that it held out."""
    record, untouched = run.facts.val, run.facts.val_set
    own, val = choose_val_where(run.config["where"], run.config["val_where"]), run.config["val"]
    if untouched is not None:
        return Part(name="", identity=None, where=untouched.where or own, path=untouched.path, given=str(val))
    return Part(
        name=record.name,
        identity=record.identity,
        where=record.where or own,
        path=record.path,
        given=str(run.config["set"] if val is None else val),
        held_out=val is None,
    )


def find_set(part: Part, run: Run) -> str:
    """Find a set by its identity: at the recorded address, else at that of the options.

    A relative path is that of the current folder, or of one of those above the run folder.

    Returns:
        Its address.

    Raises:
        DataError: It is at none of them; the message names them, and what is there.
    """
    tried = []
    for address in dict.fromkeys(_addresses(part, run)):
        found = _look(address, part.identity)
        if found == "":
            return address
        tried.append(f"{shown(address)} ({found})")
    raise DataError(f"{part.describe()}, which {run.folder} used, was looked for at {', '.join(tried)}")


def _addresses(part: Part, run: Run) -> Iterator[str]:
    if part.path:
        yield part.path
    if is_remote(part.given) or Path(part.given.removeprefix("file://")).is_absolute():
        yield part.given
        return
    for base in (Path.cwd(), *run.folder.resolve().parents):
        yield str(base / part.given)


def _look(address: str, identity: str | None) -> str:
    """Say what is at an address instead of the set; "" if it is there."""
    if not is_remote(address) and explain_missing(address):
        return "no set" if Path(address.removeprefix("file://")).exists() else "nothing"
    try:
        found = read_manifest(open_store(address), shown(address)).identity
    except (DataError, UsageError, OSError) as error:
        return str(error)
    return "" if identity in (None, found) else f"a set with identity {found[:12]}"
