"""Sets behind `gs://` and `az://`, read from a web server that stands in for the clouds' own.

No server of either can be installed with the tests. What a cloud answers to a GET of an object or a range is plain
HTTP; this server has one bucket, and looks whether Azure's shared key is there, without checking it.
"""

import base64
import json
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from tests.servers import answer, answer_range, web_server

WHEN = {"Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


def respond(root, path_prefix, login, handler):
    """Answer as an object store does."""
    path = unquote(urlsplit(handler.path).path)
    if not handler.headers.get("authorization", "").startswith(login):
        return answer(handler, 401)
    if not path.startswith(path_prefix) or not (file := root / path.removeprefix(path_prefix)).is_file():
        return answer(handler, 404)
    headers = WHEN | {"ETag": f'"{file.stat().st_size}"'}
    if handler.headers.get("if-match", headers["ETag"]) != headers["ETag"]:
        return answer(handler, 412)
    if handler.headers["range"]:
        return answer_range(handler, file.read_bytes(), **headers)
    return answer(handler, 200, file.read_bytes(), **headers)


def google(url):
    key = {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    return "gs://bucket/set", "/bucket/set/", "", {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key)}


def azure(url):
    variables = {
        "AZURE_STORAGE_ACCOUNT_NAME": "lab",
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"secret").decode(),
        "AZURE_STORAGE_ENDPOINT": url,
    }
    return "az://bucket/set", "/bucket/set/", "SharedKey lab:", variables


@pytest.mark.parametrize("cloud", [google, azure])
def test_a_set_is_the_same_behind_every_cloud(diode_sets, monkeypatch, cloud):
    local = diode_sets[0]
    with web_server(lambda handler: answering(handler)) as server:
        url, prefix, login, variables = cloud(server.url)
        answering = partial(respond, Path(local.url), prefix, login)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        there = ShardSet(url)
        rows = range(len(local))
        assert there.reader.read_encoded(rows, DEPTH_PARTS) == local.reader.read_encoded(rows, DEPTH_PARTS)
        ranged = [one for one in server.seen if "/shards/" in unquote(one["path"])]
    assert ranged
    assert all({name.lower() for name in one} >= {"range"} for one in ranged)
