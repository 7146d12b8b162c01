"""Whether there is a login for a store, and where it comes from, decided before the first request.

Without this the client would ask the metadata address of a cloud machine, which on any other machine does not answer.
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
"""Where a login comes from: variables or a file they name; a profile of the AWS files; the machine's own."""

HTTP_TOKEN = "DEPTHSTREAM_HTTP_TOKEN"
"""Variable that holds the bearer token for `http(s)://`."""

INSTANCE_TIMEOUT_S = 1.5
"""A cloud machine's metadata service answers in a few milliseconds."""

_PROFILE_LOGINS = (
    "aws_access_key_id",
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)
_SECRET_NAME = re.compile(r"^(AWS|AZURE|GOOGLE|DEPTHSTREAM)_.*(KEY|SECRET|TOKEN|SAS)")
_SHORTEST_SECRET = 8


@dataclass(frozen=True, kw_only=True)
class _Cloud:
    """A kind of store that wants a login.

    Attributes:
        name: For people.
        switches: Variables that say "no login", or ask another program, when they are true.
        variables: Each group is a login when all of it is set.
        file: Below the home folder, a login by itself; "" if there is none.
        host: Variable with the address of the metadata service.
        default_host: Its usual address.
        question: Method, path and headers that only such a service answers with 200.
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
    question=("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}),
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
    """Say where the login for a bucket comes from.

    Args:
        url: Of the bucket; its scheme decides.
        environment: Variables.
        home: The folder that holds `.aws` and `.config`.

    Raises:
        UsageError: There is no login, or half of one, or no such kind of store.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _CLOUDS:
        raise UsageError(f"{scheme}://: expected a folder, or an address with one of s3, gs, az, http, https")
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
    """The headers that log in to a web server: the address's own user and password, else the bearer token."""
    name, password = urlsplit(url).username, urlsplit(url).password
    if name is not None:
        pair = f"{unquote(name)}:{unquote(password or '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    token = environment.get(HTTP_TOKEN, "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def check_login(url: str) -> None:
    """Check that what may be a password cannot be taken for a path.

    Raises:
        UsageError: There is an `@` beyond the host of a web address.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise UsageError(
            "expected a web address with `@` before the host alone, found one behind it: write it as %40, and `/`, `?` "
            "and `#` of a password as %2F, %3F and %23"
        )


def without_login(url: str) -> str:
    """An address without user, password, query, fragment and the last slash: what may be shown."""
    parts = urlsplit(url.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def conceal(text: str, environment: Mapping[str, str]) -> str:
    """The text with every secret of the environment replaced, should a server have repeated one."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.match(name):
            text = text.replace(value, f"({name})")
    return text


def _check_halves(cloud: _Cloud, environment: Mapping[str, str]) -> None:
    for group in cloud.variables:
        given = [name for name in group if environment.get(name)]
        if given:
            missing = next(name for name in group if name not in given)
            raise UsageError(f"{given[0]} is set, but {missing} is not: set both, or neither")


def _has_profile(environment: Mapping[str, str], home: Path) -> bool:
    """Whether the AWS files hold a login: one was chosen by name, or any section has one."""
    if environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE"):
        return True
    files = (
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
        environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
    )
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(files)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"the AWS files {files[0]} and {files[1]} cannot be read: mend them") from error
    return any(parser.has_option(section, option) for section in parser.sections() for option in _PROFILE_LOGINS)


def _is_instance(cloud: _Cloud, environment: Mapping[str, str]) -> bool:
    """Whether this is a machine of the cloud: its metadata service answers."""
    if cloud is _AWS and _is_true(environment.get("AWS_EC2_METADATA_DISABLED", "")):
        return False
    host = environment.get(cloud.host, cloud.default_host)
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
