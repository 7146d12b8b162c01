"""An MD5 that a later process can go on with: the archives' checksums are over more bytes than one run may read.

`hashlib` cannot save its state. The OpenSSL that Python itself has loaded can: its MD5_CTX is plain memory, 23 words
since SSLeay (https://docs.openssl.org/3.0/man3/MD5/). Where Python was built otherwise, `state` is empty.
"""

import ctypes
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

from sharding.archives.byte_source import ByteSource

PIECE_BYTES = 1 << 20
"""Bytes that are read and hashed at a time."""

_HASH_LAG_BYTES = 16 << 20  # how far the hash may fall behind the reading
_OFFSET_BYTES = 8


class FollowingMd5:
    """MD5 of a source, in a thread of its own that follows the reading.

    Args:
        source: Hashed from its start, or from where `state` was taken.
        state: Of an earlier one, b"" for none.
        patient: Whether the reading waits when the hashing falls behind, so that both use what was just read. Not if
            the reading begins far ahead.
    """

    def __init__(self, source: ByteSource, state: bytes, patient: bool) -> None:
        self._source, self._patient = source, patient
        self._done = int.from_bytes(state[:_OFFSET_BYTES], "big")
        self._md5 = ResumableMd5(state[_OFFSET_BYTES:])
        self._pool = ThreadPoolExecutor(1, "md5")
        self._running: Future[None] | None = None

    def follow(self, position: int) -> None:
        """Hash up to `position`, soon; waits only when far behind."""
        late = self._patient and position - self._done > _HASH_LAG_BYTES
        if self._running and (self._running.done() or late):
            self._running.result()
            self._running = None
        if self._running is None and position - self._done >= PIECE_BYTES:
            self._running = self._pool.submit(self._hash, position)

    def _hash(self, position: int) -> None:
        while self._done < position and (
            data := self._source.read_at(self._done, min(PIECE_BYTES, position - self._done))
        ):
            self._md5.update(data)
            self._done += len(data)

    def finish(self, size: int) -> str:
        """Hash the rest."""
        self._catch_up(size)
        return self._md5.hexdigest()

    def state(self, position: int) -> bytes:
        """Offset and MD5 up to `position`; b"" where no later run could go on with it."""
        if not self._patient or not self._md5.state():
            return b""
        self._catch_up(position)
        return self._done.to_bytes(_OFFSET_BYTES, "big") + self._md5.state()

    def _catch_up(self, position: int) -> None:
        if self._running:
            self._running.result()
            self._running = None
        self._hash(position)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)


_STATE_BYTES = 23 * 4
_DIGEST_BYTES = 16


class ResumableMd5:
    """MD5 of what it is given.

    Args:
        state: Of an earlier one; b"" for a new one.

    Raises:
        ValueError: There is a state, and this Python cannot go on with it.
    """

    def __init__(self, state: bytes = b"") -> None:
        self._openssl = _find_openssl()
        self._plain = hashlib.md5(usedforsecurity=False)
        self._context = ctypes.create_string_buffer(_STATE_BYTES)
        if state and (self._openssl is None or len(state) != _STATE_BYTES):
            raise ValueError("this Python cannot go on with an MD5 that another process began")
        if state:
            self._context.raw = state
        elif self._openssl is not None:
            self._openssl.MD5_Init(self._context)

    def update(self, data: bytes) -> None:
        """Take in bytes."""
        if self._openssl is None:
            self._plain.update(data)
        else:
            self._openssl.MD5_Update(self._context, data, ctypes.c_size_t(len(data)))

    def state(self) -> bytes:
        """What a later one goes on with; b"" if none can."""
        return b"" if self._openssl is None else self._context.raw

    def hexdigest(self) -> str:
        """The MD5 so far."""
        if self._openssl is None:
            return self._plain.hexdigest()
        context = ctypes.create_string_buffer(self._context.raw, _STATE_BYTES)
        found = ctypes.create_string_buffer(_DIGEST_BYTES)
        self._openssl.MD5_Final(found, context)
        return found.raw.hex()


@cache
def _find_openssl() -> Any:
    """The library with `MD5_Init` that `hashlib` uses, None if it cannot be had or gives something else."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        context, found = ctypes.create_string_buffer(_STATE_BYTES), ctypes.create_string_buffer(_DIGEST_BYTES)
        library.MD5_Init(context)
        library.MD5_Update(context, b"abc", ctypes.c_size_t(3))
        library.MD5_Final(found, context)
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    return library if found.raw == hashlib.md5(b"abc", usedforsecurity=False).digest() else None
