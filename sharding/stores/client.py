"""An obstore client for a URL, with its credentials and time limits.

`stores.remote` reads with it, `making.remote_target` writes. obstore runs threads of its own: a process that used it
must not fork (the child would hang).
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore.store import HTTPStore, from_url

from sharding.errors import UsageError
from sharding.hiding import hide, without_login
from sharding.stores.address import WEB, plain_address, split_address
from sharding.stores.credentials import check_variables, find_login, forget_empty, http_headers
from sharding.stores.failure import no_panic

PROFILE_TTL = timedelta(minutes=5)
"""How long a profile's credentials are used before asking boto3, which renews them 10 minutes before they expire."""


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """Time limits of one request, in seconds.

    Attributes:
        connect_s: Until the connection is open.
        stall_s: Without receiving a byte.
        request_s: Of the whole request; ends one whose server sends very slowly.
        whole_s: Of the whole request, where a whole object is read or written.
    """

    connect_s: float = 5.0
    stall_s: float = 15.0
    request_s: float = 120.0
    whole_s: float = 1800.0


def open_client(url: str, limits: TimeLimits) -> tuple[Any, dict[str, str]]:
    """Open the client for a URL; also return the headers that a plain HTTP request needs to log in.

    Raises:
        UsageError: There are no credentials, or the address is wrong.
    """
    parts = split_address(url)
    if parts.query or parts.fragment:
        raise UsageError(
            f"{without_login(url)}: expected the address of a set, found one with a query or a fragment; leave it out"
        )
    client: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=limits.connect_s),
        "read_timeout": timedelta(seconds=limits.stall_s),
        "timeout": timedelta(seconds=limits.request_s),
    }
    once: Any = {"max_retries": 0}  # RetryingStore does all retries, so that one policy bounds them
    plain = plain_address(url)
    if parts.scheme not in WEB:
        forget_empty(os.environ)
        check_variables(os.environ)
    try:
        with no_panic():
            if parts.scheme in WEB:
                headers = http_headers(url, os.environ)
                options: Any = client | ({"default_headers": headers} if headers else {})
                return HTTPStore(plain, client_options=options, retry_config=once), headers
            more = _profile() if find_login(url, os.environ, Path.home()) == "profile" else {}
            if parts.scheme == "s3":
                more["disable_bulk_delete"] = True  # not every S3-compatible server has it
            return from_url(plain, client_options=client, retry_config=once, **more), {}  # type: ignore[call-overload]
    except UsageError:
        raise
    except Exception as error:
        found = hide(str(error).partition("\n")[0], os.environ)
        raise UsageError(
            f"{without_login(url)}: expected to open it, but: {found}; see docs/object-stores.md"
        ) from None


def _profile() -> dict[str, Any]:
    """Return the client options that take credentials from the user's AWS profile, SSO included.

    Raises:
        UsageError: boto3 is missing, or the profile gives no credentials.
    """
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UsageError(
            "the credentials are in an AWS profile, which needs boto3: `pip install boto3`, or export "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
        ) from error
    try:
        provider = Boto3CredentialProvider(ttl=PROFILE_TTL)
        provider()  # fails here, with advice, rather than in the first request
    except Exception as error:
        found = hide(str(error).partition("\n")[0], os.environ)
        raise UsageError(
            f"the AWS profile gives no credentials: {found}; check AWS_PROFILE, or run `aws sso login`"
        ) from None
    return {"credential_provider": provider}
