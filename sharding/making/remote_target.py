"""Write a set to an object store: a file at a time, whole or not at all, large ones in parts.

The ledger records the ETag of each shard, so that a later run can check it without downloading it. There are no locks:
two runs that make one set at the same time are not detected.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import obstore

from sharding.errors import DataError, UsageError
from sharding.format.names import LEDGER_NAME
from sharding.stores.client import TimeLimits, open_client
from sharding.stores.credentials import conceal, without_login
from sharding.stores.failure import read_failure
from sharding.stores.retry import ReadFailed, persist

PART_BYTES = 8 << 20
"""Size of the parts in which a larger file is sent, several at a time."""

PARALLEL_PARTS = 4
WAITING = f"{LEDGER_NAME}/waiting"

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
        self._scratch = tempfile.TemporaryDirectory(prefix="depthstream-")
        self._sent: dict[str, int] = {}  # segment of the spool -> its size in the store
        self._unneeded: set[str] = set()  # segments there that the last `save_spool` did not name

    def read(self, name: str) -> bytes | None:
        """Get an object; None if it is missing."""
        return self._ask("read", name, lambda: bytes(obstore.get(self._client, name).bytes()))

    def write(self, name: str, content: bytes) -> None:
        """Put an object."""
        self._ask("write", name, lambda: obstore.put(self._client, name, content))

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write to a temporary file, then send it."""
        with tempfile.NamedTemporaryFile(dir=self._scratch.name) as file:
            yield file  # type: ignore[misc]
            file.flush()
            # Not reached if the block raises: then the store has no part of the file.
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

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._ask("remove", name, lambda: obstore.delete(self._client, name))

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
        folder = Path(self._scratch.name, "waiting")
        folder.mkdir(exist_ok=True)
        self._sent = {}
        # Those of a run that was killed, or of a point that cannot be resumed from: removed by the next `save_spool`.
        self._unneeded = {one.rpartition("/")[2] for one in self._list(WAITING)}.difference(names)
        for name in names:
            # A missing segment is noticed by `Spool.adopt`; the archive is then read from its start.
            if (content := self.read(f"{WAITING}/{name}")) is not None:
                (folder / name).write_bytes(content)
                self._sent[name] = len(content)
        return folder

    def save_spool(self, names: Collection[str]) -> None:
        """Put the segments that are new or have grown; delete those that are no longer needed."""
        folder = Path(self._scratch.name, "waiting")
        for name in names:
            size = (folder / name).stat().st_size  # segments only grow: the same size is the same content
            if name in self._unneeded or self._sent.get(name) != size:  # a run that starts anew uses the names again
                self._send(f"{WAITING}/{name}", folder / name)
                self._sent[name] = size
        # The point on disk is still that of the call before: what it does not need is removed one call later.
        for name in self._unneeded.difference(names):
            self.remove(f"{WAITING}/{name}")
            self._sent.pop(name, None)
        self._unneeded = self._sent.keys() - set(names)

    def alone(self) -> AbstractContextManager[None]:
        """Do nothing: a store has no locks."""
        return nullcontext()

    def _ask(self, verb: str, name: str, action: Callable[[], T]) -> T | None:
        """Run a request, with retries of transient failures; None if the object is missing.

        Raises:
            DataError: It failed for good, or beyond the limits of retrying.
        """

        def attempt() -> T | None:
            try:
                return action()
            except FileNotFoundError as error:
                if verb == "write":
                    raise self._failure(verb, name, error) from None  # there is no such bucket
                return None
            except OSError as error:
                if error.errno is not None:  # of this machine, not of the store
                    raise
                raise self._failure(verb, name, error) from None
            except Exception as error:
                raise self._failure(verb, name, error) from None

        return persist(attempt)

    def _failure(self, verb: str, name: str, error: Exception) -> DataError:
        # Messages of the client may hold a secret of the environment.
        failure, where = read_failure(conceal(str(error), os.environ)), f"{self.address}/{name}"
        if failure.transient:
            return ReadFailed(where, str(failure), verb=verb)
        return DataError(
            f"{where}: expected to {verb} it, but: {failure}; {failure.advice}; finished shards are kept: run the same "
            "command again when that is fixed"
        )
