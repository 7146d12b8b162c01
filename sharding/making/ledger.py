"""The ledger of a set that is being made: its plan, and a line for each finished shard.

```
SET/.making/plan.json           source, options, encoders; a run that differs is refused. Of a folder its files, too
SET/.making/NAME-000000.json    the line: an Entry as JSON, written atomically after its shard
SET/.making/resume_point.json   of an archive: where the next shard begins, written after the line
SET/.making/waiting/            of an archive: spool segments of files that wait for others of their sample
```

A shard counts as finished if and only if its line is there, the file has the hash recorded in it (in a store: the tag)
and, from a folder, its source files are as they were. A kill in between leaves a shard without a line,
which is made again, or a line ahead of the resume point, whose files are read again but not encoded. The ledger is
removed after the manifest is written.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.errors import DataError, UsageError
from sharding.format.choices import with_unrecorded
from sharding.format.index import Row
from sharding.format.manifest import ShardFile
from sharding.format.names import LEDGER_NAME, WAITING_NAME
from sharding.format.strict_json import Count, Number, parse, read_json, to_type
from sharding.limits import MAX_JSON_BYTES, over
from sharding.making.same_set import differences
from sharding.making.source_list import first_difference, sizes
from sharding.making.target import SetTarget
from sharding.sources.pairing import Refusal
from sharding.sources.resume_point import ResumePoint
from sharding.sources.source import SourceFile

# What is on disk after each step of a run, and what the next run does if this one is killed there. A file appears whole
# or not at all (`SetTarget.write`, `create`). Steps 2 to 6 repeat for each shard. From a folder there are no steps 4 to
# 6, and several processes do 2 and 3, each for its own shard.
#
#   step                                  if killed after it, the next run
#   1  .making/plan.json                  finds no line and no point: begins again, with any options
#   2  shards/NAME-000000.tar.zst         finds a shard without a line: makes it again under the same name
#   3  .making/NAME-000000.json           hashes the shard and keeps it; reads on from the point before it, and drops
#                                         the samples of this shard (`ArchiveBuild._missing`)
#   4  .making/waiting/*.bin, by now      as after 3: no saved point names the new segments
#   5  .making/resume_point.json          reads on from here: all that the point needs was written in 2 to 4
#   6  segments no point names removed    as after 5 (a store removes them in step 4 of the next shard)
#   7  quarantine, index, manifest last   has all lines: writes these again; with the manifest: has only 8 to do
#   8  .making removed                    finds a finished set
#
# A power cut may undo the last renames, so no file of the ledger is trusted for being there: a line is checked by the
# hash of its shard, a point by the lines of all shards before it, a segment by the CRC-32 of each payload. Whatever
# fails is made again.
_PLAN, _RESUME_POINT = f"{LEDGER_NAME}/plan.json", f"{LEDGER_NAME}/resume_point.json"
_LINE = re.compile(r".+-(\d{6})\.json")

_VERSION, _FILES = "version of the ledger", "files"
LEDGER_VERSION = 2
"""Version of the JSON below; an unfinished set with another one is not resumed."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the ledger: a finished shard.

    Attributes:
        file: The shard.
        rows: Its rows of the index.
        refused: Planned samples that are not in it.
        refused_at: Change time of each source file of these, in ns.
        read: State of the source files of a folder before they were read, see `making.source_state`; "" if not known.
        depth_error: Largest relative depth error in it.
        tag: Tag of the shard in its store; see `SetTarget.tag`.
    """

    file: ShardFile
    rows: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    refused_at: dict[str, Number] = field(default_factory=dict)
    depth_error: float = 0.0
    tag: str = ""
    read: str = ""

    @property
    def keys(self) -> set[str]:
        """Keys of all planned samples."""
        return {row.key for row in self.rows} | {refusal.key for refusal in self.refused}

    def encode(self) -> bytes:
        """Write it as a line of JSON, without loss of precision."""
        # The NaN of a depth map without valid pixels is written as NaN, which `read_json` accepts.
        return (json.dumps(dataclasses.asdict(self)) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "Entry":
        """Read what `encode` wrote.

        Raises:
            DataError: It is not such a line.
        """
        # `asdict` and JSON made [ext, {offset, bytes, crc32c}] of (ext, Span); the types say what to make of it.
        return read_json(data, cls, "line of the ledger", floats="nan")


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is read of a plan beside its terms, which are only compared."""

    files: dict[str, Count] = field(default_factory=dict)


class Ledger:
    """The ledger of the set at `target`."""

    def __init__(self, target: SetTarget) -> None:
        self._target = target

    def open(self, terms: dict[str, Any], files: Sequence[SourceFile] = ()) -> None:
        """Resume an unfinished set, or begin it, and remove partially written files.

        Args:
            terms: All that determines the bytes of the set.
            files: Those of a folder.

        Raises:
            UsageError: An unfinished set with other terms is there.
            DataError: The plan is larger than what is read.
        """
        terms = terms | {_VERSION: LEDGER_VERSION}
        old = self._read_plan() if self._is_begun() else None
        if old is not None and old.get(_VERSION) != LEDGER_VERSION:
            raise UsageError(
                f"{self._target.address} holds an unfinished set with a ledger of version {old.get(_VERSION, 1)}, this "
                f"program continues version {LEDGER_VERSION}: finish it with the version of depthstream that began it, "
                "choose another folder, or delete that one"
            )
        if old is not None and (differing := differences(old, terms)):
            if "source" in differing and (first := first_difference(old[_FILES], files)):
                differing["source"] += f", where {first}"
            raise UsageError(
                f"{self._target.address} holds an unfinished set that was begun with other options or another source: "
                f"{'; '.join(differing.values())}; run it as it was begun to finish it, choose another folder, or "
                "delete that one"
            )
        plan = (json.dumps(terms | {_FILES: sizes(files)}, indent=1, sort_keys=True) + "\n").encode()
        _check_size(plan, f"{self._target.address}/{_PLAN}")
        # The plan comes last: lines and point are only ever written under a plan that holds.
        self._target.begin()
        if old is None:
            self.forget_lines()
            self._target.write(_PLAN, plan)

    def forget_lines(self) -> None:
        """Remove lines, which are worthless without their plan; a plan stays until another takes its place.

        It tells whose the shards are that may be there, if the run is killed in between.
        """
        for name in self._target.names(LEDGER_NAME):
            if name != Path(_PLAN).name:
                self._target.remove(f"{LEDGER_NAME}/{name}")
        self._target.clean(WAITING_NAME)

    def _is_begun(self) -> bool:
        """Tell whether more than the plan is there, such as a line or a point; earlier versions had other names."""
        files = [name for name in self._target.names(LEDGER_NAME) if not name.startswith(".")]  # but partial ones
        return any(name != Path(_PLAN).name for name in files)

    def _read_plan(self) -> dict[str, Any] | None:
        content = self._target.read(_PLAN) or b""
        _check_size(content, f"{self._target.address}/{_PLAN}")  # it is none, or damaged, in the other cases
        try:
            plan = parse(content, _PLAN)
            to_type(plan, _Plan, _PLAN)
        except DataError:
            return None
        return {_FILES: {}, **with_unrecorded(plan)}

    def write(self, entry: Entry) -> None:
        """Write the line of a shard that is finished."""
        self._target.write(_line(Path(entry.file.name).name), entry.encode())

    def read(self, shard: str) -> Entry | None:
        """Read the line of the shard with this file name; None if it is missing or unreadable."""
        try:
            entry = Entry.decode(self._target.read(_line(shard)) or b"")
        except DataError:
            return None
        # The name of a line has no `.tar` or `.tar.zst`, so the name inside it decides.
        return entry if entry.file.name == f"shards/{shard}" else None

    def read_all(self, shard_name: Callable[[int], str]) -> dict[int, Entry]:
        """Read all lines that are readable, by the number of their shard."""
        # The name of the line gives the number, and the number that of the shard: a line of another set is left out.
        numbers = [int(found[1]) for name in self._target.names(LEDGER_NAME) if (found := _LINE.fullmatch(name))]
        lines = {number: self.read(shard_name(number)) for number in numbers}
        return {number: entry for number, entry in lines.items() if entry is not None}

    def has_lines(self) -> bool:
        """Tell whether there is a line of any shard."""
        return any(_LINE.fullmatch(name) for name in self._target.names(LEDGER_NAME))

    def write_resume_point(self, point: ResumePoint) -> None:
        """Write where the next shard begins in the archive."""
        self._target.write(_RESUME_POINT, point.encode())

    def read_resume_point(self) -> ResumePoint:
        """Read where an earlier run stopped; the start of the archive if it is missing or unreadable."""
        try:
            return ResumePoint.decode(self._target.read(_RESUME_POINT) or b"")
        except DataError:
            return ResumePoint()

    def is_whole(self, entry: Entry) -> bool:
        """Tell whether the shard is there with the size and content recorded in its line."""
        return self._target.is_whole(entry.file.name, entry.file.bytes, entry.file.sha256, entry.tag)


def _check_size(plan: bytes, where: str) -> None:
    if len(plan) > MAX_JSON_BYTES:
        raise DataError(f"{where}: {over(f'found {len(plan)} bytes', MAX_JSON_BYTES)}")


def _line(shard: str) -> str:
    return f"{LEDGER_NAME}/{shard.partition('.')[0]}.json"
