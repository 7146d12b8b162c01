"""Write a set to an object store: a file at a time, whole or not at all, large ones in parts.

The ledger records the ETag of each shard, so that a later run can check it without downloading it. A lease keeps other
runs out. A run that was stopped for long loses it, so all ETags are compared again before a set is finished.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError

from sharding.errors import DataError, UsageError
from sharding.format.names import WAITING_NAME
from sharding.hiding import conceal, without_login
from sharding.machine.scratch import Scratch, remove_abandoned
from sharding.progress import say
from sharding.stores.client import TimeLimits, open_client
from sharding.stores.failure import no_panic, read_failure
from sharding.stores.lease import RemoteLease
from sharding.stores.retry import ReadFailed, persist

PART_BYTES = 8 << 20
"""Size of the parts in which a larger file is sent, several at a time."""

PARALLEL_PARTS = 4
PARALLEL_CHECKS = 16

T = TypeVar("T")


class RemoteTarget:
    """A prefix of an object store.

    A shard is written to a local temporary file first (below `TMPDIR`), which is deleted when it is sent.

    Args:
        address: `s3://`, `gs://` or `az://`.

    Raises:
        UsageError: It is a web server, or there are no credentials.
    """

    def __init__(self, address: str) -> None:
        self.address = without_login(address).rstrip("/")
        if urlsplit(address).scheme in ("http", "https"):
            raise UsageError(f"{self.address}: a web server takes no files; make the set in a folder, or in s3://")
        # A put of a whole shard may take long, so its limit is that of a whole object.
        self._client, _ = open_client(address, TimeLimits(request_s=TimeLimits.whole_s))
        self._scratch = Scratch()
        self._lease = RemoteLease(self, say)
        self._answered = False  # whether the store has answered, so that an outage is worth waiting for
        self._sent: dict[str, int] = {}  # segment of the spool -> its size in the store
        self._unneeded: set[str] = set()  # segments there that the last `save_spool` did not name

    def read(self, name: str, *, once: bool = False) -> bytes | None:
        """Get an object; None if it is missing."""
        return self._ask("read", name, lambda: bytes(obstore.get(self._client, name).bytes()), once=once)

    def write(self, name: str, content: bytes, *, once: bool = False) -> None:
        """Put an object."""
        self._ask("write", name, lambda: obstore.put(self._client, name, content), once=once)

    def write_if_missing(self, name: str, content: bytes) -> bool:
        """Put an object unless there is one, and tell whether it was put; some stores overwrite it."""

        def put() -> bool:
            try:
                obstore.put(self._client, name, content, mode="create")
            except AlreadyExistsError:
                return False
            except Exception as error:
                failure = read_failure(str(error))
                if failure.status == 409:  # one is being put right now
                    return False
                if failure.status != 501 and not isinstance(error, NotSupportedError):
                    raise
                obstore.put(self._client, name, content)  # a store without conditions
            return True

        return bool(self._ask("write", name, put))

    def write_last(self, name: str, content: bytes) -> None:
        """Put an object that is not there yet.

        Raises:
            DataError: Another run has put it.
        """
        if not self.write_if_missing(name, content) and self.read(name) != content:  # same: the first answer was lost
            raise DataError(f"{self.address}/{name}: another run has written it while this one made the set")

    def changed_at(self, name: str) -> datetime | None:
        """Return the time of the last put of an object, by the clock of the store; None if it is missing."""
        found = self._ask("read", name, lambda: obstore.head(self._client, name))
        return found["last_modified"] if found else None

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write to a temporary file, then send it, unless another run has taken the set over."""
        with tempfile.NamedTemporaryFile(dir=self._scratch.path) as file:
            yield file  # type: ignore[misc]
            file.flush()
            # Not reached if the block raises: then the store has no part of the file.
            self._lease.check()
            self._send(name, Path(file.name))

    def _send(self, name: str, path: Path) -> None:
        # A large file goes in parts, which become an object when all are sent: a reader never sees half of it.
        def put() -> None:
            obstore.put(self._client, name, path, chunk_size=PART_BYTES, max_concurrency=PARALLEL_PARTS)

        self._ask("write", name, put)

    def names(self, folder: str) -> list[str]:
        """List a prefix."""
        found = self._ask("list", folder, lambda: obstore.list_with_delimiter(self._client, f"{folder}/"))
        return sorted(one["path"].rpartition("/")[2] for one in found["objects"]) if found else []

    def remove(self, name: str, *, once: bool = False) -> None:
        """Delete an object."""
        self._ask("remove", name, lambda: obstore.delete(self._client, name), once=once)

    def tag(self, name: str) -> str:
        """Return the ETag of an object; "" if it is missing or has none."""
        found = self._ask("read", name, lambda: obstore.head(self._client, name))
        return (found["e_tag"] or "") if found else ""

    def is_whole(self, name: str, num_bytes: int, sha256: str, tag: str) -> bool:
        """Compare size and ETag; without an ETag the answer is False."""
        found = self._ask("read", name, lambda: obstore.head(self._client, name))
        # The ETag changes with the content, and asking for it downloads nothing.
        return bool(found and tag and found["size"] == num_bytes and found["e_tag"] == tag)

    def begin(self) -> None:
        """Do nothing: a store needs no folders, and has no partially written objects."""

    def clean(self, folder: str) -> None:
        """Delete all objects below a prefix."""
        for name in self._list(folder):
            self.remove(name)

    def _list(self, folder: str) -> list[str]:
        """List all objects below a prefix."""

        def names() -> list[str]:
            return [one["path"] for page in obstore.list(self._client, f"{folder}/") for one in page]

        return self._ask("list", folder, names) or []

    def free_bytes(self) -> int | None:
        """Return None: a store does not report it."""
        return None

    def restore_spool(self, names: Collection[str]) -> Path:
        """Get the segments that an earlier run put."""
        folder = Path(self._scratch.path, "waiting")
        folder.mkdir(exist_ok=True)
        self._sent = {}
        # Those of a run that was killed, or of a point that cannot be resumed from: removed by the next `save_spool`.
        self._unneeded = {one.rpartition("/")[2] for one in self._list(WAITING_NAME)}.difference(names)
        for name in names:
            # A missing segment is noticed by `Spool.adopt`; the archive is then read from its start.
            if (content := self.read(f"{WAITING_NAME}/{name}")) is not None:
                (folder / name).write_bytes(content)
                self._sent[name] = len(content)
        return folder

    def save_spool(self, names: Collection[str]) -> None:
        """Put the segments that are new or have grown; delete those that are no longer needed."""
        folder = Path(self._scratch.path, "waiting")
        for name in names:
            size = (folder / name).stat().st_size  # segments only grow: the same size is the same content
            if name in self._unneeded or self._sent.get(name) != size:  # a run that starts anew uses the names again
                self._send(f"{WAITING_NAME}/{name}", folder / name)
                self._sent[name] = size
        # The point on disk is still that of the call before: what it does not need is removed one call later.
        for name in self._unneeded.difference(names):
            self.remove(f"{WAITING_NAME}/{name}")
            self._sent.pop(name, None)
        self._unneeded = self._sent.keys() - set(names)

    def check_held(self, shards: Sequence[tuple[str, int, str]]) -> None:
        """Check the lease, then size and ETag of each shard.

        Raises:
            DataError: Another run has taken the set over, or replaced a shard.
        """
        self._lease.check()
        with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
            kept = list(pool.map(lambda shard: self._is_as_written(*shard), shards))
        if lost := [name for (name, _, _), is_kept in zip(shards, kept, strict=True) if not is_kept]:
            raise DataError(
                f"{self.address}/{lost[0]}: was replaced while the set was made, like {len(lost) - 1} others: another "
                "run writes there; wait until it ends, or end it, and run the same command again"
            )

    def _is_as_written(self, name: str, num_bytes: int, tag: str) -> bool:
        found = self._ask("read", name, lambda: obstore.head(self._client, name))
        return bool(found and found["size"] == num_bytes and (not tag or found["e_tag"] == tag))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lease; remove the temporary files of worker processes that ended."""
        try:
            with self._lease.hold(f"{self.address}: another run is making this set; wait until it ends, or end it"):
                yield
        finally:
            remove_abandoned()

    def _ask(self, verb: str, name: str, action: Callable[[], T], *, once: bool = False) -> T | None:
        """Run a request, with retries of transient failures unless `once`; None if the object is missing.

        Raises:
            DataError: It failed for good, or beyond the limits of retrying.
        """

        def attempt() -> T | None:
            try:
                with no_panic():
                    found = action()
                self._answered = True
                return found
            except FileNotFoundError as error:
                self._answered = True
                if verb == "write":
                    raise self._failure(verb, name, error) from None  # there is no such bucket
                return None
            except OSError as error:
                if error.errno is not None:  # of this machine, not of the store
                    raise
                raise self._failure(verb, name, error) from None
            except Exception as error:
                raise self._failure(verb, name, error) from None

        return attempt() if once else persist(attempt, answered=lambda: self._answered)

    def _failure(self, verb: str, name: str, error: Exception) -> DataError:
        # Messages of the client may hold a secret of the environment.
        failure, where = read_failure(conceal(str(error), os.environ)), f"{self.address}/{name}"
        if failure.transient:
            return ReadFailed(where, str(failure), verb=verb, unreachable=failure.unreachable)
        return DataError(
            f"{where}: expected to {verb} it, but: {failure}; {failure.advice}; finished shards are kept: run the same "
            "command again when that is fixed"
        )
