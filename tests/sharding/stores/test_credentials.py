import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from sharding.errors import DataError, UsageError
from sharding.hiding import conceal, without_login
from sharding.stores import credentials
from sharding.stores.credentials import find_login, http_headers
from sharding.stores.opening import open_store
from sharding.stores.remote import RemoteStore
from tests import servers
from tests.servers import answer, web_server

KEYS = {"AWS_ACCESS_KEY_ID": servers.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET}
NOBODY = f"http://127.0.0.1:{servers.free_port()}"
NO_INSTANCE = {"AWS_METADATA_ENDPOINT": NOBODY, "GCE_METADATA_HOST": NOBODY, "AZURE_METADATA_HOST": NOBODY}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No credentials of the machine that runs the tests, and no metadata service."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "GCE_", "IDENTITY_", "DEPTHSTREAM_")):
            monkeypatch.delenv(name)
    for name, value in NO_INSTANCE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("s3://b/p", KEYS),
        ("s3://b/p", {"AWS_SKIP_SIGNATURE": "true"}),
        ("s3://b/p", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", "AWS_ROLE_ARN": "arn"}),
        ("s3://b/p", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}),
        ("s3://b/p", KEYS | {"AWS_PROFILE": "work"}),
        ("gs://b/p", {"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}),
        ("gs://b/p", {"GOOGLE_SKIP_SIGNATURE": "TRUE"}),
        ("az://c/p", {"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}),
        ("abfss://c@account.dfs.core.windows.net/p", {"AZURE_USE_AZURE_CLI": "true"}),
    ],
)
def test_variables_are_a_login(tmp_path, url, variables):
    assert find_login(url, NO_INSTANCE | variables, tmp_path) == "environment"


@pytest.mark.parametrize("variables", [{}, {"AWS_SKIP_SIGNATURE": "false"}, {"AWS_SESSION_TOKEN": "x"}])
def test_nothing_is_a_clear_error(tmp_path, variables):
    with pytest.raises(UsageError) as error:
        find_login("s3://b/p", NO_INSTANCE | variables, tmp_path)
    assert str(error.value) == (
        "s3://: found no credentials for S3: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE "
        "(needs `pip install boto3`), or AWS_SKIP_SIGNATURE=true for a public bucket"
    )
    for url, advice in (("gs://b", "GOOGLE_APPLICATION_CREDENTIALS"), ("az://c", "AZURE_STORAGE_ACCOUNT_KEY")):
        with pytest.raises(UsageError, match=f"{url[:2]}://: found no credentials for .*{advice}"):
            open_store(url)


@pytest.mark.parametrize("given", KEYS)
def test_half_a_login_is_an_error_that_names_the_other_half(tmp_path, given):
    missing = next(name for name in KEYS if name != given)
    with pytest.raises(UsageError, match=f"^{given} is set, but {missing} is not"):
        find_login("s3://b/p", {given: "x"}, tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "login"),
    [
        ("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = B%C\n", "profile"),
        ("config", "[profile work]\nsso_session = w\n[sso-session w]\nsso_start_url = https://x\n", "profile"),
        ("config", "[default]\nregion = eu-central-1\n", None),
    ],
)
def test_a_profile_counts_if_it_holds_a_login(tmp_path, file, text, login):
    path = tmp_path / ".aws" / file
    path.parent.mkdir()
    path.write_text(text)
    elsewhere = {"AWS_CONFIG_FILE": str(path)} if file == "config" else {"AWS_SHARED_CREDENTIALS_FILE": str(path)}
    for home, variables in ((tmp_path, {}), (tmp_path / "nobody", elsewhere)):
        if login:
            assert find_login("s3://b/p", NO_INSTANCE | variables, home) == login
        else:
            with pytest.raises(UsageError, match="found no credentials"):
                find_login("s3://b/p", NO_INSTANCE | variables, home)
    assert find_login("s3://b/p", NO_INSTANCE | {"AWS_PROFILE": "work"}, tmp_path / "nobody") == "profile"


def test_googles_own_file_is_a_login(tmp_path):
    path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert find_login("gs://b/p", NO_INSTANCE, tmp_path) == "environment"


def as_instance(handler):
    """A cloud machine's metadata service, and a bucket with one object."""
    answer(handler, 200, instance_body(handler.path), Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")


def instance_body(path):
    if path == "/latest/api/token":
        return b"session"
    if path == "/latest/meta-data/iam/security-credentials/":
        return b"role"
    if path == "/latest/meta-data/iam/security-credentials/role":
        until = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        login = {"AccessKeyId": "ASIAOFTHEINSTANCE", "SecretAccessKey": "x", "Token": "t", "Expiration": until}
        return json.dumps(login | {"Code": "Success", "LastUpdated": until}).encode()
    return b"object"


def test_a_cloud_machines_own_login_is_used(monkeypatch):
    with web_server(as_instance) as server:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert open_store("s3://bucket/set").read_all("x") == b"object"
        assert server.seen[-1]["path"] == "/bucket/set/x"
        assert "Credential=ASIAOFTHEINSTANCE/" in server.seen[-1]["authorization"]


@pytest.mark.parametrize("reason", ["refuses", "is silent", "is switched off"])
def test_a_metadata_service_that_gives_nothing_is_no_login(tmp_path, monkeypatch, reason):
    released = threading.Event()
    monkeypatch.setattr(credentials, "INSTANCE_TIMEOUT_S", 0.2)

    def respond(handler):
        if reason == "is silent":
            released.wait(30)
        answer(handler, 403 if reason == "refuses" else 200)

    with web_server(respond) as server:
        variables = {"AWS_METADATA_ENDPOINT": server.url}
        if reason == "is switched off":
            variables["AWS_EC2_METADATA_DISABLED"] = "true"
        with pytest.raises(UsageError, match="found no credentials"):
            find_login("s3://b/p", variables, tmp_path)
        assert len(server.seen) == (reason != "is switched off")
        released.set()


@pytest.mark.parametrize(
    ("url", "variables", "kind"),
    [
        ("s3://b/p", KEYS, "S3Store"),
        ("gs://b/p", {"GOOGLE_SKIP_SIGNATURE": "true"}, "GCSStore"),
        ("az://c/p", {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}, "AzureStore"),
        ("https://example.org/p", {}, "HTTPStore"),
        ("https://b.s3.amazonaws.com/p", {}, "HTTPStore"),
    ],
)
def test_an_address_leads_to_its_kind_of_store(monkeypatch, url, variables, kind):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(RemoteStore(url)._store).__name__ == kind


def test_what_the_client_misses_is_an_error_at_once(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5LW9mLXRlc3Q=")
    with pytest.raises(UsageError, match=r"^az://c/p: expected to open it, but: .*Account must be specified"):
        open_store("az://c/p")


def test_a_profile_without_boto3_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    monkeypatch.delitem(__import__("sys").modules, "obstore.auth.boto3", raising=False)
    with pytest.raises(UsageError, match=r"which needs boto3: `pip install boto3`, or export AWS_ACCESS_KEY_ID"):
        open_store("s3://b/p")


needs_boto3 = pytest.mark.skipif(importlib.util.find_spec("boto3") is None, reason="boto3 is not installed")


def write_profiles(home, text):
    path = home / ".aws" / "credentials"
    path.parent.mkdir()
    path.write_text(text)


@needs_boto3
def test_a_profile_is_used_and_a_wrong_one_is_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    (tmp_path / "data" / "bucket" / "x").write_bytes(b"0123456789")
    right = (
        f"[work]\naws_access_key_id={servers.ACCESS_KEY}\naws_secret_access_key={servers.SECRET}\nregion=us-east-1\n"
    )
    write_profiles(tmp_path, right + right.replace("work", "old").replace(servers.SECRET, "secret-of-yesterday"))
    with servers.nanio(tmp_path / "data") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_PROFILE", "work")
        assert open_store("s3://bucket").read("x", [(2, 3)]) == [b"234"]
        monkeypatch.setenv("AWS_PROFILE", "old")
        with pytest.raises(DataError, match=r"SignatureDoesNotMatch.*or the profile") as error:
            open_store("s3://bucket").read("x", [(2, 3)])
        assert "yesterday" not in str(error.value)


@needs_boto3
def test_a_profile_that_is_not_there_or_has_run_out_says_so(tmp_path, monkeypatch):
    write_profiles(tmp_path, "[broken]\ncredential_process = false\n")
    for name, problem in (("nobody", "nobody"), ("broken", "credential_process|process")):
        monkeypatch.setenv("AWS_PROFILE", name)
        with pytest.raises(UsageError, match=f"the AWS profile gives no credentials: .*({problem}).*aws sso login"):
            open_store("s3://b/p")


def sign_on(handler):
    """The one answer of AWS's single sign-on that a login needs: keys of a role, for who shows the token."""
    if handler.headers["x-amz-sso_bearer_token"] != "todays-token" or "role_name=reader" not in handler.path:
        return answer(handler, 401)
    keys = {"accessKeyId": servers.ACCESS_KEY, "secretAccessKey": servers.SECRET, "sessionToken": ""}
    until = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
    return answer(handler, 200, json.dumps({"roleCredentials": keys | {"expiration": until}}).encode())


@needs_boto3
def test_a_profile_of_single_sign_on_is_used_until_it_has_run_out(tmp_path, monkeypatch):
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    (tmp_path / "data" / "bucket" / "x").write_bytes(b"0123456789")
    token = tmp_path / ".aws" / "sso" / "cache" / f"{hashlib.sha1(b's').hexdigest()}.json"
    token.parent.mkdir(parents=True)
    (tmp_path / ".aws" / "config").write_text(
        "[profile lab]\nsso_session=s\nsso_account_id=111122223333\nsso_role_name=reader\nregion=us-east-1\n"
        "[sso-session s]\nsso_region=us-east-1\nsso_start_url=https://lab.awsapps.com/start\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with web_server(sign_on) as portal, servers.nanio(tmp_path / "data") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", portal.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        token.write_text(json.dumps({"accessToken": "todays-token", "expiresAt": "2199-01-01T00:00:00Z"}))
        assert read_apart().stdout == "b'234'\n"
        token.write_text(json.dumps({"accessToken": "todays-token", "expiresAt": "2001-01-01T00:00:00Z"}))
        refused = read_apart().stderr
    assert re.search(r"UsageError: .*the AWS profile gives no credentials: .*aws sso login", refused)
    assert len(portal.seen) == 1
    assert "todays-token" not in refused


def read_apart():
    """In a process of its own: boto3 looks up the home folder when it is imported."""
    read = (
        "from sharding.stores.opening import open_store\n"
        "print(*map(bytes, open_store('s3://bucket').read('x', [(2, 3)])))"
    )
    return subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, timeout=60)


def test_user_and_password_go_before_the_token():
    token = {"DEPTHSTREAM_HTTP_TOKEN": " abc \n"}
    assert http_headers("https://h/p", token) == {"Authorization": "Bearer abc"}
    assert http_headers("https://u:p%40@h/p", token) == {"Authorization": "Basic dTpwQA=="}
    assert http_headers("https://h/p", {}) == {}


def test_addresses_and_texts_are_shown_without_secrets():
    assert without_login("https://user:word@host:81/a/b/?sig=1#x") == "https://host:81/a/b"
    assert without_login("s3://bucket/prefix/") == "s3://bucket/prefix"
    said = f"no {servers.ACCESS_KEY} with {servers.SECRET} in us-east-1"
    assert conceal(said, KEYS | {"AWS_REGION": "us-east-1"}) == (
        "no (AWS_ACCESS_KEY_ID) with (AWS_SECRET_ACCESS_KEY) in us-east-1"
    )
