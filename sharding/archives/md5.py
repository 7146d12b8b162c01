"""An MD5 that a later process can go on with: the archives' checksums are over more bytes than one run may read.

`hashlib` cannot save its state. The OpenSSL that Python itself has loaded can: its MD5_CTX is plain memory, 23 words
since SSLeay (https://docs.openssl.org/3.0/man3/MD5/). Where Python was built otherwise, `state` is empty.
"""

import ctypes
import hashlib
from functools import cache
from typing import Any

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
