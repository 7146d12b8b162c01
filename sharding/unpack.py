"""Plain bytes out of compressed ones, as a stream that never holds all of them."""

import io
from typing import BinaryIO

import zstandard

from sharding.format.shard import Compression


def open_plain(data: bytes | BinaryIO, compression: Compression) -> BinaryIO:
    """A file of the plain tar behind a shard, given as bytes or as an open file."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    if compression == "none":
        return file
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
