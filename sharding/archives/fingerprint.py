"""Identify an archive without reading all of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sharding.archives.byte_source import ByteSource, LocalFile
from sharding.stores.address import is_remote

SAMPLE_BYTES = 1 << 20
PROBE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The identity of an archive, by its size and its two ends.

    Attributes:
        name: File name.
        bytes: Compressed size.
        head: SHA-256 of its first MiB.
        whole: SHA-256 of size, first and last MiB; in a gzip file the last bytes are the checksum of all its content.
        probe: Function that hashes the 64 KiB before a compressed offset, so that a later run can compare them; it
            returns "" for an archive that is not on this machine.
    """

    name: str
    bytes: int
    head: str
    whole: str
    probe: Callable[[int], str]

    @property
    def described(self) -> str:
        """Size and fingerprint, for messages and to compare with."""
        return f"{self.bytes} bytes, fingerprint {self.whole[:16]}"


def take_fingerprint(source: ByteSource, address: str) -> Fingerprint:
    """Take the fingerprint of an open archive; `address` gives its file name."""
    head = source.read_at(0, SAMPLE_BYTES)
    tail = source.read_at(max(0, source.size - SAMPLE_BYTES), SAMPLE_BYTES)

    def probe(end: int) -> str:
        if not isinstance(source, LocalFile):
            return ""
        begin = max(0, end - PROBE_BYTES)
        return hashlib.sha256(source.read_at(begin, end - begin)).hexdigest()

    return Fingerprint(
        name=Path(urlsplit(address).path if is_remote(address) else address).name,
        bytes=source.size,
        head=hashlib.sha256(head).hexdigest(),
        whole=hashlib.sha256(b"%d\0" % source.size + head + tail).hexdigest(),
        probe=probe,
    )
