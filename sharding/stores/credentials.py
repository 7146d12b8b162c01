"""Whether there is a login for a store, and where it comes from, decided before the first request.

Without this check the client would ask the metadata service of a cloud machine, which on any other machine does not
answer.
"""

import base64
import configparser
import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from sharding.errors import UsageError

Login = Literal["environment", "profile", "instance"]
"""Where a login comes from: variables or a file they name; a profile in the AWS files; the cloud machine's own role."""

HTTP_TOKEN = "DEPTHSTREAM_HTTP_TOKEN"
"""Variable that holds the bearer token for `http(s)://`."""

INSTANCE_TIMEOUT_S = 1.5
"""Longest wait for the metadata service, which answers within a few milliseconds on a cloud machine."""

_PROFILE_LOGINS = (
    "aws_access_key_id",
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)
"""Options that make a section of the AWS files a login."""

_SECRET_NAME = re.compile(r"^(AWS|AZURE|GOOGLE|DEPTHSTREAM)_.*(KEY|SECRET|TOKEN|SAS)")
_SHORTEST_SECRET = 8
"""Characters; shorter values ("true", "1") are not concealed, because they match ordinary text."""


@dataclass(frozen=True, kw_only=True)
class _Cloud:
    """A kind of store that needs a login.

    Attributes:
        name: Its name in messages.
        switches: Variables that, when true, turn the login off or leave it to another program.
        variables: Groups of variables; each group is a login when all of it is set.
        file: Path below the home folder of a file that is a login by itself; "" if there is none.
        host: Variable with the address of the metadata service.
        default_host: Address of the metadata service if the variable is not set.
        question: Method, path and headers of a request that only such a service answers with status 200.
        advice: What to do without a login.
    """

    name: str
    switches: tuple[str, ...]
    variables: tuple[tuple[str, ...], ...]
    file: str
    host: str
    default_host: str
    question: tuple[str, str, dict[str, str]]
    advice: str


_AWS = _Cloud(
    name="S3",
    switches=("AWS_SKIP_SIGNATURE",),
    variables=(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ),
    file="",
    host="AWS_METADATA_ENDPOINT",
    default_host="http://169.254.169.254",
    question=("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}),  # IMDSv2
    advice="export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE (needs `pip install boto3`), "
    "or AWS_SKIP_SIGNATURE=true for a public bucket",
)
_GOOGLE = _Cloud(
    name="Google Cloud Storage",
    switches=("GOOGLE_SKIP_SIGNATURE",),
    variables=(
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        ("GOOGLE_SERVICE_ACCOUNT",),
        ("GOOGLE_SERVICE_ACCOUNT_PATH",),
        ("GOOGLE_SERVICE_ACCOUNT_KEY",),
        ("GOOGLE_BEARER_TOKEN",),
    ),
    file=".config/gcloud/application_default_credentials.json",
    host="GCE_METADATA_HOST",
    default_host="http://metadata.google.internal",
    question=("GET", "/computeMetadata/v1/instance/", {"Metadata-Flavor": "Google"}),
    advice="set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`, "
    "or set GOOGLE_SKIP_SIGNATURE=true for a public bucket",
)
_AZURE = _Cloud(
    name="Azure Blob Storage",
    switches=("AZURE_SKIP_SIGNATURE", "AZURE_USE_AZURE_CLI", "AZURE_STORAGE_USE_EMULATOR"),
    variables=(
        ("AZURE_STORAGE_ACCOUNT_KEY",),
        ("AZURE_STORAGE_ACCESS_KEY",),
        ("AZURE_STORAGE_SAS_KEY",),
        ("AZURE_STORAGE_SAS_TOKEN",),
        ("AZURE_STORAGE_TOKEN",),
        ("AZURE_STORAGE_CLIENT_SECRET",),
        ("AZURE_CLIENT_SECRET",),
        ("AZURE_FEDERATED_TOKEN_FILE",),
        ("AZURE_MSI_ENDPOINT",),
        ("AZURE_IDENTITY_ENDPOINT",),
        ("IDENTITY_ENDPOINT",),
    ),
    file="",
    host="AZURE_METADATA_HOST",
    default_host="http://169.254.169.254",
    question=("GET", "/metadata/instance?api-version=2019-08-01", {"Metadata": "true"}),
    advice="set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN), "
    "or AZURE_USE_AZURE_CLI=true after `az login`, or AZURE_SKIP_SIGNATURE=true for a public container",
)
_CLOUDS = {"s3": _AWS, "s3a": _AWS, "gs": _GOOGLE} | dict.fromkeys(("az", "azure", "adl", "abfs", "abfss"), _AZURE)


def find_login(url: str, environment: Mapping[str, str], home: Path) -> Login:
    """Find where the login for a bucket comes from, without a request where the environment or a file tells.

    Args:
        url: Address of the bucket; its scheme selects the cloud.
        environment: Environment variables.
        home: The folder that holds `.aws` and `.config`.

    Raises:
        UsageError: There is no login, or an incomplete one, or the scheme is unknown.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _CLOUDS:
        raise UsageError(f"{scheme}://: expected a folder, or an address with one of s3, gs, az, http, https")
    # From cheap to slow: variables, then files, and only then a request to the metadata service.
    cloud = _CLOUDS[scheme]
    if any(_is_true(environment.get(name, "")) for name in cloud.switches):
        return "environment"
    for group in cloud.variables:
        if all(environment.get(name) for name in group):
            return "environment"
    _check_halves(cloud, environment)
    if cloud is _AWS and _has_profile(environment, home):
        return "profile"
    if cloud.file and (home / cloud.file).is_file():
        return "environment"
    if _is_instance(cloud, environment):
        return "instance"
    raise UsageError(f"{scheme}://: found no credentials for {cloud.name}: {cloud.advice}")


def http_headers(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that log in to a web server: user and password of the address, else the bearer token."""
    name, password = urlsplit(url).username, urlsplit(url).password
    if name is not None:
        pair = f"{unquote(name)}:{unquote(password or '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}  # RFC 7617
    token = environment.get(HTTP_TOKEN, "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def check_login(url: str) -> None:
    """Check that no part of a password is parsed as a path, and so shown in messages.

    An unescaped `/`, `?` or `#` in a password ends the host early, which leaves the `@` in a later part of the address.

    Raises:
        UsageError: There is an `@` after the host of a web address.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise UsageError(
            "expected a web address with `@` before the host alone, found one after it: write it as %40, and `/`, `?` "
            "and `#` of a password as %2F, %3F and %23"
        )


def without_login(url: str) -> str:
    """Return an address without user, password, query, fragment and trailing slash, safe to show."""
    parts = urlsplit(url.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def conceal(text: str, environment: Mapping[str, str]) -> str:
    """Replace every secret of the environment in a text, in case a server repeated one in its answer."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.match(name):
            text = text.replace(value, f"({name})")
    return text


def _check_halves(cloud: _Cloud, environment: Mapping[str, str]) -> None:
    """Refuse a login of which some variables are set and others are not; complete groups have returned before."""
    for group in cloud.variables:
        given = [name for name in group if environment.get(name)]
        if given:
            missing = next(name for name in group if name not in given)
            raise UsageError(f"{given[0]} is set, but {missing} is not: set both, or neither")


def _has_profile(environment: Mapping[str, str], home: Path) -> bool:
    """Tell whether the AWS files hold a login: a profile was chosen by name, or any section has one."""
    if environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE"):
        return True
    files = (
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
        environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
    )
    parser = configparser.RawConfigParser(strict=False)  # raw: `%` in a secret is no interpolation
    try:
        parser.read(files)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"the AWS files {files[0]} and {files[1]} cannot be read: correct them") from error
    return any(parser.has_option(section, option) for section in parser.sections() for option in _PROFILE_LOGINS)


def _is_instance(cloud: _Cloud, environment: Mapping[str, str]) -> bool:
    """Tell whether this is a machine of the cloud, one whose metadata service answers."""
    if cloud is _AWS and _is_true(environment.get("AWS_EC2_METADATA_DISABLED", "")):
        return False
    host = environment.get(cloud.host, cloud.default_host)
    # The variables of some clouds hold a URL, those of others a host alone.
    method, path, headers = cloud.question
    connection = http.client.HTTPConnection(host.partition("://")[2] or host, timeout=INSTANCE_TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")
