"""An MD5 that a later process can resume: published checksums cover whole archives, which may take several runs.

`hashlib` cannot save its state. The OpenSSL that Python itself has loaded can: its MD5_CTX is plain memory, 23 words of
4 bytes since SSLeay (https://docs.openssl.org/3.0/man3/MD5/). In a Python without OpenSSL, `state` is empty.
"""

import ctypes
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

from sharding.archives.byte_source import ByteSource

PIECE_BYTES = 1 << 20
"""Bytes that are read and hashed at a time."""

_HASH_LAG_BYTES = 16 << 20  # how far a patient hash may fall behind the reading
_OFFSET_BYTES = 8  # a saved state is the offset (big-endian), then the MD5_CTX
_STATE_BYTES = 23 * 4
_DIGEST_BYTES = 16


class FollowingMd5:
    """MD5 of a source, in its own thread that follows the reading.

    At most one job runs at a time; `_catch_up` waits for it before it hashes on the calling thread.

    Args:
        source: Hashed from its start, or from where `state` was taken.
        state: From `state` of an earlier one, b"" for none.
        patient: Whether the reading waits when the hash falls behind, so that both use the same cached blocks. Must be
            False if the reading begins far ahead.
    """

    def __init__(self, source: ByteSource, state: bytes, patient: bool) -> None:
        self._source, self._patient = source, patient
        self._done = int.from_bytes(state[:_OFFSET_BYTES], "big")
        self._md5 = ResumableMd5(state[_OFFSET_BYTES:])
        self._pool = ThreadPoolExecutor(1, "md5")
        self._running: Future[None] | None = None

    def follow(self, position: int) -> None:
        """Hash up to `position` in the background; wait only when patient and far behind."""
        # A running job increases `_done` in its thread: an older value here only makes the reading wait for that job.
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
        """Hash the rest up to `size`; return the MD5 in hex."""
        self._catch_up(size)
        return self._md5.hexdigest()

    def state(self, position: int) -> bytes:
        """Hash up to `position`; return offset and state, b"" if no later run could resume from them."""
        if not self._patient or not self._md5.state():
            return b""
        self._catch_up(position)
        # The offset may be beyond that of a seek point: hashing resumes there, whatever is inflated again.
        return self._done.to_bytes(_OFFSET_BYTES, "big") + self._md5.state()

    def _catch_up(self, position: int) -> None:
        if self._running:
            self._running.result()
            self._running = None
        self._hash(position)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)


class ResumableMd5:
    """An MD5 whose state can be saved.

    Args:
        state: From `state` of an earlier one; b"" for a new one.

    Raises:
        ValueError: There is a state, and this Python cannot resume from it.
    """

    def __init__(self, state: bytes = b"") -> None:
        self._openssl = _find_openssl()
        self._plain = hashlib.md5(usedforsecurity=False)
        self._context = ctypes.create_string_buffer(_STATE_BYTES)
        if state and (self._openssl is None or len(state) != _STATE_BYTES):
            raise ValueError("this Python cannot resume an MD5 that another process began")
        if state:
            self._context.raw = state
        elif self._openssl is not None:
            self._openssl.MD5_Init(self._context)

    def update(self, data: bytes) -> None:
        """Hash more bytes."""
        if self._openssl is None:
            self._plain.update(data)
        else:
            self._openssl.MD5_Update(self._context, data, ctypes.c_size_t(len(data)))

    def state(self) -> bytes:
        """Return the state from which a later one resumes; b"" if none can."""
        return b"" if self._openssl is None else self._context.raw

    def hexdigest(self) -> str:
        """Return the MD5 so far, in hex."""
        if self._openssl is None:
            return self._plain.hexdigest()
        context = ctypes.create_string_buffer(self._context.raw, _STATE_BYTES)  # a copy: MD5_Final ends a context
        found = ctypes.create_string_buffer(_DIGEST_BYTES)
        self._openssl.MD5_Final(found, context)
        return found.raw.hex()


@cache
def _find_openssl() -> Any:
    """Return the library with `MD5_Init` that `hashlib` uses; None if it is not available or computes a wrong hash."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)  # the extension module: its symbols include those of its libcrypto
        context, found = ctypes.create_string_buffer(_STATE_BYTES), ctypes.create_string_buffer(_DIGEST_BYTES)
        library.MD5_Init(context)
        library.MD5_Update(context, b"abc", ctypes.c_size_t(3))
        library.MD5_Final(found, context)
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    return library if found.raw == hashlib.md5(b"abc", usedforsecurity=False).digest() else None
