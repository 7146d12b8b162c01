from dataclasses import dataclass

import pytest
import yaml

from sharding.errors import UsageError
from sharding.hiding import COMMAND_NOTE
from sharding.option_file import read_file
from sharding.options import options_of
from training.config import FinetuneConfig
from training.runfolder import check_same, load_config, save_config
from training.streaming.options import Streaming

SECRET = "S3cr3tOfTheTest"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of a run, with a secret wherever one may be."""

    out: str
    set: str = f"https://user:{SECRET}@h/set"
    sets: tuple[str, ...] = (f"https://user:{SECRET}@h/a?token={SECRET}", "/data/a:b@c", f"http://u:{SECRET}\uff20h")
    where: str = "scene == 'a@b:c'"
    pipe: str | None = f"KEY={SECRET} curl -H 'Authorization: {SECRET}' {{url}}"
    seed: int = 3


def test_a_run_folder_has_no_secret_and_is_resumed_with_one(tmp_path):
    config = Config(out=str(tmp_path))
    save_config(tmp_path, config)
    text = (tmp_path / "config.yaml").read_text()
    assert SECRET not in text
    assert yaml.safe_load(text) == {
        "out": str(tmp_path),
        "set": "https://h/set",
        "sets": ["https://h/a", "/data/a:b@c", "http://(hidden)"],
        "where": "scene == 'a@b:c'",
        "pipe": f"curl {COMMAND_NOTE}",
        "seed": 3,
    }
    check_same(config, ())
    check_same(Config(out=str(tmp_path), set="https://other:login@h/set"), ())
    with pytest.raises(UsageError, match=r"--set https://h/set, not https://h/b; repeat its options") as error:
        check_same(Config(out=str(tmp_path), set=f"https://user:{SECRET}@h/b"), ())
    assert SECRET not in str(error.value)
    with pytest.raises(UsageError, match=r"--pipe curl .*, not cat "):
        check_same(Config(out=str(tmp_path), pipe=f"cat {SECRET}"), ())


def test_a_folder_of_an_older_version_is_read_without_its_command(tmp_path):
    (tmp_path / "config.yaml").write_text(f"pipe: curl {SECRET} {{url}}\nset: https://u:{SECRET}@h/x\nepochs: 2\n")
    assert load_config(tmp_path) == {"pipe": f"curl {COMMAND_NOTE}", "set": "https://h/x", "epochs": 2}


def test_a_command_that_was_not_kept_is_asked_for(tmp_path):
    save_config(tmp_path, Config(out=str(tmp_path)))
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())["pipe"]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump({"pipe": kept}))
    values = read_file(str(tmp_path / "again.yaml"), options_of(FinetuneConfig))
    with pytest.raises(UsageError, match=r"--pipe: a run folder keeps no command.*give --pipe again"):
        Streaming(shuffle_buffer=1, pipe=values["pipe"])
