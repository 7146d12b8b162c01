"""A whole shard as a stream of its tar, front to back: from a file, an object in memory, or a command's output."""

import contextlib
import hashlib
import io
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import zstandard

from sharding.errors import DataError
from sharding.format.manifest import ShardFile
from sharding.format.shard import ZSTD_MAGIC
from sharding.reading.reader import REREADS
from sharding.stores.store import Store
from training.streaming.pipe_command import to_script

STREAM_WAIT_S = 300.0
"""Longest wait for a command's next byte, seconds."""


class CommandFailed(DataError):
    """The command of --pipe failed; whatever it wrote counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class ShardOpener:
    """Opens shards of a set.

    Attributes:
        url: Of the set, as the user gave it; not shown, because it may contain a key.
        pipe: A shell command that writes a shard, as a tar or `.tar.zst`, to its standard output; `{url}` in it stands
            for the shard's path or URL, see `training.streaming.pipe_command`. None: through the set's store.
        wait_s: Longest wait for the command's next byte, seconds.
    """

    url: str = field(repr=False)
    pipe: str | None = None
    wait_s: float = STREAM_WAIT_S

    @contextlib.contextmanager
    def open(self, shard: ShardFile, store: Store) -> Iterator[IO[bytes]]:
        """Open the tar of a shard, decompressed, as a stream; the first bytes tell a `.tar.zst` from a `.tar`.

        Raises:
            DataError: The shard cannot be read; also raised later, while it is read.
        """
        with contextlib.ExitStack() as stack:
            if self.pipe is None:
                stored = stack.enter_context(_open_stored(shard, store))
            else:
                stored = stack.enter_context(self._run(self.pipe, shard))
            if stored.peek(len(ZSTD_MAGIC)).startswith(ZSTD_MAGIC):
                inflater = zstandard.ZstdDecompressor()
                yield stack.enter_context(inflater.stream_reader(stored, read_across_frames=True, closefd=False))
            else:
                yield stored

    @contextlib.contextmanager
    def _run(self, pipe: str, shard: ShardFile) -> Iterator[io.BufferedReader]:
        address = f"{self.url.removeprefix('file://').rstrip('/')}/{shard.name}"
        if address.startswith("-"):  # a program would take it for an option
            address = f"./{address}"
        command = ["/bin/sh", "-c", to_script(pipe), "sh", address]
        # In a new session, so that every process of a shell's pipeline can be killed at once.
        # bufsize=0: `_Output` polls the pipe, which does not show bytes that a buffer of Popen has already taken.
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, start_new_session=True) as process:
            try:
                yield io.BufferedReader(_Output(process, self.wait_s), 1 << 20)
            finally:
                if process.poll() is None:  # not reaped, so its id is still that of its group
                    os.killpg(process.pid, signal.SIGKILL)


class _Output(io.RawIOBase):
    """The output of a command; its end is an error if it failed. No error shows the command: it may contain a key."""

    def __init__(self, process: "subprocess.Popen[bytes]", wait_s: float) -> None:
        self._process, self._wait_s, self._passed = process, wait_s, 0

    def readable(self) -> bool:
        """Return True, as `io.BufferedReader` requires."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the bytes that are available, at least one; from the start, at least the length of the zstd magic.

        Raises:
            CommandFailed: No byte arrived within `wait_s`, or the command failed.
        """
        view = memoryview(buffer)
        count = self._read(view)
        # `ShardOpener.open` peeks at the magic, and a peek makes one read: a command may write byte by byte.
        while 0 < self._passed + count < len(ZSTD_MAGIC) and (more := self._read(view[count:])):
            count += more
        self._passed += count
        return count

    def _read(self, buffer: memoryview) -> int:
        source: Any = self._process.stdout
        waiting = select.poll()  # unlike select(), whatever the number of the descriptor
        waiting.register(source, select.POLLIN)
        if not waiting.poll(1000 * self._wait_s):  # ms
            raise CommandFailed(
                f"the command of --pipe wrote nothing for {self._wait_s:g} s; run it by hand to see why"
            )
        # 0 bytes are the end of the output, which counts only if the command succeeded.
        if count := source.readinto(buffer):
            return int(count)
        try:
            status = self._process.wait(self._wait_s)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                "the command of --pipe closed its output and did not exit; make it exit there"
            ) from error
        if status:
            raise CommandFailed(f"the command of --pipe ended with exit status {status}; run it by hand to see why")
        return 0


def _open_stored(shard: ShardFile, store: Store) -> io.BufferedReader:
    """Open a shard as stored: a file is read as needed, an object is fetched whole with one request."""
    path = store.local_path(shard.name)
    if path is None:
        return io.BufferedReader(io.BytesIO(_fetch(shard, store)))
    try:
        return io.BufferedReader(io.FileIO(path), 1 << 20)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from error


def _fetch(shard: ShardFile, store: Store) -> bytes:
    """Fetch a whole object and compare it with the manifest; after a checksum mismatch it is fetched again.

    Raises:
        DataError: The object does not have the sha256 of the manifest, even when read again.
    """
    for _ in range(1 + REREADS):
        data = store.read_all(shard.name)
        found = hashlib.sha256(data).hexdigest()
        # `invalidate` reports whether another read may give something else, as over a network.
        if found == shard.sha256 or not store.invalidate(shard.name, [(0, len(data))]):
            break
    if found != shard.sha256:
        raise DataError(
            f"expected sha256 {shard.sha256}, found {found} in {len(data)} bytes; get a whole copy of the set"
        )
    return data
