"""Which store an address names: a folder, or a URL; and how it is shown."""

import re

from sharding.stores.credentials import without_login


def is_remote(url: str) -> bool:
    """Whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


def shown(address: str) -> str:
    """An address as it may be shown and written down: a URL without login and query; any other text as it is."""
    return without_login(address) if re.match(r"[A-Za-z0-9+.-]+://", address) else address
