"""What kind of store an address names, a folder or a URL, and how the address is shown without its login."""

import re

from sharding.stores.credentials import without_login


def is_remote(url: str) -> bool:
    """Tell whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


def shown(address: str) -> str:
    """Return the form of an address for messages and files: a URL without login and query, other text unchanged."""
    return without_login(address) if re.match(r"[A-Za-z0-9+.-]+://", address) else address
