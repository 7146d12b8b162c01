"""The ledger of a set that is being made: what it is to become, and a line for each finished shard.

```
SET/.making/plan.json           source, options, encoders; a run that differs is refused
SET/.making/NAME-000000.json    written atomically, after its shard
SET/.making/position.json       of an archive: where the next shard begins, written after the line
SET/.making/waiting/            of an archive: files that wait long for the others of their sample
```

A shard counts as finished if its line is there and the file has the hash that the line says; nothing else does. The
ledger goes when the manifest has come.
"""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.candidate import Refusal
from sharding.errors import UsageError
from sharding.files import write_atomically
from sharding.index import Row
from sharding.manifest import ShardFile
from sharding.position import Position
from sharding.sample import DepthFacts
from sharding.shard import Span
from sharding.target import LEDGER_NAME
from sharding.terms import differences

_PARTIAL = re.compile(r"\..+\.\d+\.tmp")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the ledger: a finished shard.

    Attributes:
        file: The shard.
        rows: Its rows of the index.
        refused: Planned samples that are not in it.
        refused_at: When each source file of these last changed, in ns.
        depth_error: Largest relative depth error in it.
    """

    file: ShardFile
    rows: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    refused_at: dict[str, int] = field(default_factory=dict)
    depth_error: float = 0.0

    @property
    def keys(self) -> set[str]:
        """Of all planned samples."""
        return {row.key for row in self.rows} | {refusal.key for refusal in self.refused}

    def encode(self) -> bytes:
        """Write it as a line of JSON; numbers keep every bit."""
        return (json.dumps(dataclasses.asdict(self)) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "Entry":
        """Read what `encode` wrote.

        Raises:
            ValueError: It is no such line.
        """
        try:
            content = json.loads(data)
            return cls(
                file=ShardFile(**content["file"]),
                rows=[_row(row) for row in content["rows"]],
                refused=[Refusal(**refusal | {"files": tuple(refusal["files"])}) for refusal in content["refused"]],
                refused_at=content["refused_at"],
                depth_error=content["depth_error"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected a line of the ledger: {error!r}") from error


def _row(content: dict[str, Any]) -> Row:
    parts = {part: (ext, Span(**span)) for part, (ext, span) in content["parts"].items()}
    return Row(**content | {"depth": DepthFacts(**content["depth"]), "parts": parts})


class Ledger:
    """The ledger below the folder `target` of a set."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._folder = target / LEDGER_NAME
        self._plan = self._folder / "plan.json"
        self._position = self._folder / "position.json"

    def open(self, terms: dict[str, Any]) -> None:
        """Go on with an unfinished set, or begin it, and remove what was half written.

        Args:
            terms: All that decides the bytes of the set.

        Raises:
            UsageError: An unfinished set is there that follows from other terms.
        """
        old = self._read_plan() if self.has_lines() or self._position.exists() else None
        if old is not None and (differing := differences(old, terms)):
            raise UsageError(
                f"{self._target} holds an unfinished set that was begun otherwise: {'; '.join(differing)}; run it as "
                "it was begun to finish it, choose another folder, or delete that one"
            )
        for folder in (self._target, self._target / "shards", self._folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_partial(folder)
        if old is None:
            shutil.rmtree(self._folder)  # lines without a plan prove nothing, and a plan without lines binds nobody
            write_atomically(self._plan, (json.dumps(terms, indent=1, sort_keys=True) + "\n").encode())

    def _read_plan(self) -> dict[str, Any] | None:
        try:
            plan = json.loads(self._plan.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return plan if isinstance(plan, dict) else None

    def write(self, entry: Entry) -> None:
        """Write the line of a shard that is finished."""
        write_atomically(self._line(Path(entry.file.name).name), entry.encode())

    def read(self, shard: str) -> Entry | None:
        """The line of the shard with this file name, None if there is none that can be read."""
        try:
            entry = Entry.decode(self._line(shard).read_bytes())
        except (OSError, ValueError):
            return None
        return entry if entry.file.name == f"shards/{shard}" else None

    def read_all(self, shard_name: Callable[[int], str]) -> dict[int, Entry]:
        """All lines that can be read, by the number of their shard."""
        numbers = sorted(int(path.stem[-6:]) for path in self._folder.glob("*-" + 6 * "[0-9]" + ".json"))
        found = {number: self.read(shard_name(number)) for number in numbers}
        return {number: entry for number, entry in found.items() if entry is not None}

    def has_lines(self) -> bool:
        """Whether any shard may be finished."""
        return any(path not in (self._plan, self._position) for path in self._folder.glob("*.json"))

    def write_position(self, position: Position) -> None:
        """Write where the next shard begins in the archive."""
        write_atomically(self._position, position.encode())

    def read_position(self) -> Position:
        """Where an earlier run stood; the start if it says nothing that can be read."""
        try:
            return Position.decode(self._position.read_bytes())
        except (OSError, ValueError):
            return Position()

    @property
    def spool_folder(self) -> Path:
        """Where files of an archive may wait for others."""
        return self._folder / "waiting"

    def is_whole(self, entry: Entry) -> bool:
        """Whether the shard is there with the size and hash that its line says; reads all of it."""
        path = self._target / entry.file.name
        try:
            if path.stat().st_size != entry.file.bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == entry.file.sha256
        except OSError:
            return False

    def _line(self, shard: str) -> Path:
        return self._folder / f"{shard.partition('.')[0]}.json"


def remove_partial(folder: Path) -> None:
    """Remove the temporary files that a killed run left in a folder."""
    for path in folder.iterdir():
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
