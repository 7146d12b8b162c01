"""An object behind a URL as bytes at any offset, for reading it once from front to back.

`http(s)://` is streamed over one connection (`http_object`); `s3://` and the like are read by ranged GETs. The object
is pinned: one that changes while it is read is an error. Memory: `CACHED_BLOCKS` blocks.
"""

from sharding.archives.blocks import DOWNLOAD_BLOCK_BYTES, Blocks
from sharding.archives.byte_source import ByteSource, LocalFile
from sharding.archives.http_object import HttpObject
from sharding.errors import DataError
from sharding.hiding import without_login
from sharding.stores.address import WEB, is_remote, split_address
from sharding.stores.opening import open_store


def open_source(address: str) -> ByteSource:
    """Open a file or a URL as a byte source.

    Raises:
        DataError: It is missing or may not be read.
        UsageError: The address is wrong.
    """
    if not is_remote(address):
        return LocalFile(address.removeprefix("file://"))
    return HttpObject(address) if split_address(address).scheme in WEB else StoredObject(address)


class StoredObject(Blocks):
    """An object of a store: `s3://bucket/key`, `gs://`, `az://`. A process that used one must not fork.

    Args:
        url: Address of the object.

    Raises:
        DataError: There is no such object, or it may not be read.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        prefix, _, self._key = url.rpartition("/")
        self.name = without_login(url)
        self._store = open_store(prefix)
        size = self._store.size(self._key)
        if size is None:
            raise DataError(f"{self.name}: expected an object, found none")
        self.size = size

    def _fetch(self, index: int) -> bytes:
        start = index * DOWNLOAD_BLOCK_BYTES
        return bytes(self._store.read(self._key, [(start, min(DOWNLOAD_BLOCK_BYTES, self.size - start))])[0])
