"""Which store an address names: a folder, or a URL."""

from sharding.store import LocalStore, Store


def is_remote(url: str) -> bool:
    """Whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


def open_store(url: str) -> Store:
    """Open the store that `url` names: a folder, or `s3://`, `gs://`, `az://`, `http(s)://`.

    A remote client must not exist in a process that forks afterwards: open it in the process that reads.
    """
    if is_remote(url):
        from sharding.remote import RemoteStore

        return RemoteStore(url)
    return LocalStore(url.removeprefix("file://"))
