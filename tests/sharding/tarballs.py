"""Archives whose every byte a test knows: headers may lie."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zstandard

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.members import Member, MemberReader

END = bytes(1024)


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None, form: int = tarfile.GNU_FORMAT
) -> bytes:
    """A header, truthful unless `size` is given, with its payload."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = "/etc/passwd"
    return info.tobuf(form) + data + bytes(-len(data) % 512)


def payload(size: int, seed: int) -> bytes:
    """Bytes that compress a little, as photographs do."""
    return np.random.default_rng(seed).integers(0, 200, size, dtype=np.uint8).tobytes()


def tarball(sizes: Sequence[int], folder: str = "MegaDepth_v1/0001/dense0/imgs") -> bytes:
    return b"".join(entry(f"{folder}/{i}_o.jpg", payload(size, i)) for i, size in enumerate(sizes)) + END


def write(path: Path, plain: bytes, level: int = 1) -> Path:
    """Write `plain` in the form that the suffix of `path` tells."""
    if path.suffix == ".gz":
        plain = gzip.compress(plain, level, mtime=0)
    if path.suffix == ".zst":
        plain = zstandard.ZstdCompressor(write_checksum=True).compress(plain)
    path.write_bytes(plain)
    return path


def read_members(path: Path, offset: int = 0, seek_point: bytes = b"") -> list[Member]:
    source = LocalFile(path)
    with open_archive(source, offset, seek_point, threads=2) as archive:
        return list(MemberReader(archive))


def as_tarfile_reads(plain: bytes) -> list[tuple[str, bytes]]:
    """The reference: Python's own reader."""
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive if info.isfile()]  # type: ignore[union-attr]
