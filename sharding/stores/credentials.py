"""Whether there is a login for a store, and where it comes from, decided before the first request.

Without this check the client would ask the metadata service of a cloud machine, which on any other machine does not
answer.
"""

import base64
import configparser
import http.client
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

from sharding.errors import UsageError
from sharding.escaping import escape
from sharding.hiding import without_login
from sharding.stores.address import WEB, split_address

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

_ENDPOINTS = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_METADATA_ENDPOINT", "AWS_ENDPOINT_URL_STS"),
    *("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
)
"""Variables that hold the address of a server, with its scheme."""

_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")


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


def forget_empty(environment: MutableMapping[str, str]) -> None:
    """Remove the clouds' variables that are empty: a client takes "" for an address or a key, people mean "not set"."""
    for name in [one for one, value in environment.items() if one.startswith(_PREFIXES) and not value.strip()]:
        del environment[name]


def check_variables(environment: Mapping[str, str]) -> None:
    """Check the clouds' variables before a client reads them: it ends in a panic over some of them.

    Raises:
        UsageError: One holds control characters, such as the line break at the end of a file, or the address of a
            server without its scheme.
    """
    given = {name: value for name, value in environment.items() if name.startswith(_PREFIXES)}
    for name, value in given.items():
        if escape(value) != value and not name.endswith("SERVICE_ACCOUNT_KEY"):  # that one is JSON
            raise UsageError(
                f"{name}: expected plain text, found control characters, such as a line break; remove them"
            )
        if name in ("AWS_REGION", "AWS_DEFAULT_REGION") and not (value.isascii() and value.replace("-", "").isalnum()):
            raise UsageError(f"{name}={value}: expected the name of a region, such as us-east-1")
        if name in _ENDPOINTS:
            _check_endpoint(name, value)


def _check_endpoint(name: str, value: str) -> None:
    try:
        fits = split_address(value).scheme in WEB and not urlsplit(value).query and value.isascii()
    except UsageError:
        fits = False
    if not fits:
        found = without_login(value)
        known = f"; write {name}=http://{found}" if re.fullmatch(r"[\w.-]+(:\d{1,5})?", found) else ""
        raise UsageError(f"{name}={found}: expected http://HOST:PORT or https://HOST:PORT, found something else{known}")


def http_headers(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that log in to a web server: user and password of the address, else the bearer token.

    Raises:
        UsageError: The token has characters that no token has.
    """
    name, password = urlsplit(url).username, urlsplit(url).password
    if name is not None:
        pair = f"{unquote(name)}:{unquote(password or '')}".encode("utf-8", "surrogateescape")
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}  # RFC 7617
    token = environment.get(HTTP_TOKEN, "").strip()
    if not (token.isascii() and escape(token) == token):  # a client would show it in its error
        raise UsageError(f"{HTTP_TOKEN}: expected a token of plain ASCII, found other characters")
    return {"Authorization": f"Bearer {token}"} if token else {}


class Proxy(NamedTuple):
    """A proxy, and the variable that names it; as text, "HTTPS_PROXY=http://proxy:3128" without its login."""

    variable: str
    address: str

    def __str__(self) -> str:
        return f"{self.variable}={without_login(self.address)}"


def web_proxies(environment: Mapping[str, str]) -> dict[str, Proxy]:
    """Return scheme -> proxy for `http` and `https`; small letters first, ALL_PROXY where there is none."""
    found = {}
    for scheme in WEB:
        names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
        if name := next(filter(environment.get, names), None):
            found[scheme] = Proxy(name, environment[name])
    return found


def find_proxy(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy through which requests for an address go.

    Raises:
        UsageError: The variable holds no address.
    """
    server = url
    if urlsplit(url).scheme not in WEB:
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
        server = next(filter(None, map(environment.get, names)), "https://storage")
    if proxy_bypass(urlsplit(server).netloc.rpartition("@")[2]):  # NO_PROXY
        return None
    proxy = web_proxies(environment).get(urlsplit(server).scheme)
    if proxy is not None:
        _check_proxy(proxy)
    return proxy


def _check_proxy(proxy: Proxy) -> None:
    address = proxy.address if "://" in proxy.address else f"http://{proxy.address}"
    try:
        split_address(re.sub("^socks[0-9]?[ah]?://", "http://", address))
    except UsageError:
        raise UsageError(f"{proxy}: expected http://HOST:PORT, found something else") from None


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
