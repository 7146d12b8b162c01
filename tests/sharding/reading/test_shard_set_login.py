"""A login that stands in the address of a set is used, and shown nowhere."""

import base64
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from sharding.checking import inspection, verify
from sharding.config import InspectConfig, VerifyConfig
from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown
from tests.servers import answer, answer_range, web_server
from training.config import EvaluateConfig, PretrainConfig, ProfileConfig
from training.evaluation.results import SetInfo
from training.profiling import profile
from training.runfolder import save_config

LOGIN = "Basic " + base64.b64encode(b"reader:open-sesame").decode()


@pytest.fixture
def served(diode_sets, tmp_path):
    """Address of a copy of a set, with its login, behind a server that asks for it; and the copy."""
    folder = shutil.copytree(diode_sets[1].url, tmp_path / "set")

    def respond(handler):
        path = tmp_path / urlsplit(handler.path).path.lstrip("/")
        if handler.headers["authorization"] != LOGIN:
            return answer(handler, 401)
        if not path.is_file():
            return answer(handler, 404)
        if handler.headers["range"]:
            return answer_range(handler, path.read_bytes())
        return answer(handler, 200, path.read_bytes())

    with web_server(respond) as server:
        yield server.url.replace("http://", "http://reader:open-sesame@") + "/set", folder


def plain(url):
    return url.replace("reader:open-sesame@", "")


def test_what_commands_say_of_a_set_has_no_login(served):
    url, _ = served
    small = {"samples": 2, "repeats": 1, "num_workers": 0}
    for outcome in (
        inspection.run(InspectConfig(set=url)),
        verify.run(VerifyConfig(set=url)),
        profile.run(ProfileConfig(set=url, **small)),
    ):
        assert outcome.ok
        assert outcome.data["set"] == plain(url)
        assert plain(url) in outcome.text
        assert "sesame" not in f"{outcome.data}{outcome.text}"
    assert SetInfo.of(ShardSet(url)).url == plain(url)


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("wrong", ["no manifest", "no json", "index", "part"])
def test_errors_about_a_set_have_no_login(served, wrong):
    url, folder = served
    opened = ShardSet(url)
    if wrong == "no manifest":
        (folder / "manifest.json").unlink()
    elif wrong == "no json":
        (folder / "manifest.json").write_bytes(b"{")
    elif wrong == "index":
        damage(folder / "index.parquet", 1000)
    else:
        row = opened.index.iloc[0]
        damage(folder / opened.manifest.shards[0].name, int(row["image_offset"]) + 5)
    with pytest.raises(DataError) as error:
        opened.read([0]) if wrong == "part" else ShardSet(url).read([0])
    assert plain(url) in str(error.value)
    assert "sesame" not in "".join(map(repr, [error.value, error.value.__cause__, error.value.__context__]))


def test_what_is_shown_of_an_address():
    assert shown("HTTPS://user:word@host/set/") == "https://host/set"
    assert shown("s3://bucket/set") == "s3://bucket/set"
    assert shown("a/b@c#1?2/") == "a/b@c#1?2/"


def test_a_run_folder_holds_no_login(tmp_path):
    url = "https://reader:open-sesame@host/sets/a"
    query = "source == 'a://b?c' and scene == 'x@y'"
    save_config(tmp_path, PretrainConfig(sets=(url, "s3://bucket/b", "plain/c#1"), out="run", where=query))
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["sets"] == ["https://host/sets/a", "s3://bucket/b", "plain/c#1"]
    assert written["where"] == query
    save_config(tmp_path, EvaluateConfig(run="run", set=url))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["set"] == "https://host/sets/a"
