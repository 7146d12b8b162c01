import pytest
import yaml

from sharding.errors import UsageError
from sharding.hiding import COMMAND_NOTE
from sharding.option_file import read_file
from sharding.options import options_of
from sharding.parser import CommandParser, build_config
from training.config import FinetuneConfig, PretrainConfig
from training.runfolder import check_same, load_config, save_config
from training.streaming.options import Streaming

SECRET = "S3cr3tOfTheTest"


COMMAND = f"KEY={SECRET} curl -H 'Authorization: {SECRET}' {{url}}"


def config(out, **changed):
    given = {"set": f"https://user:{SECRET}@h/set", "val": f"http://u:{SECRET}@h/v?token={SECRET}", "pipe": COMMAND}
    return FinetuneConfig(out=str(out), reader="webdataset", where="scene == 'a@b:c'", **(given | changed))


def test_a_run_folder_has_no_secret_and_is_resumed_with_one(tmp_path):
    save_config(tmp_path, config(tmp_path))
    text = (tmp_path / "config.yaml").read_text()
    assert SECRET not in text
    written = yaml.safe_load(text)
    assert {name: written[name] for name in ("set", "val", "where", "pipe")} == {
        "set": "https://h/set",
        "val": "http://h/v",
        "where": "scene == 'a@b:c'",
        "pipe": f"curl {COMMAND_NOTE}",
    }
    check_same(config(tmp_path), ())
    check_same(config(tmp_path, set="https://other:login@h/set"), ())
    with pytest.raises(UsageError, match=r"--set https://h/set, not https://h/b; repeat its options") as error:
        check_same(config(tmp_path, set=f"https://user:{SECRET}@h/b"), ())
    assert SECRET not in str(error.value)
    with pytest.raises(UsageError, match=r"--pipe curl .*, not cat "):
        check_same(config(tmp_path, pipe=f"cat {SECRET}"), ())


def test_addresses_of_several_sets_have_no_login(tmp_path):
    sets = (f"https://user:{SECRET}@h/a?token={SECRET}", "/data/a:b@c", f"http://u:{SECRET}\uff20h")
    save_config(tmp_path, PretrainConfig(sets=sets, out=str(tmp_path)))
    assert load_config(tmp_path)["sets"] == ["https://h/a", "/data/a:b@c", "http://(hidden)"]


def test_a_folder_of_an_older_version_is_read_without_its_command(tmp_path):
    save_config(tmp_path, config(tmp_path))
    path = tmp_path / "config.yaml"
    older = yaml.safe_load(path.read_text()) | {"pipe": f"curl {SECRET} {{url}}", "set": f"https://u:{SECRET}@h/x"}
    path.write_text(yaml.safe_dump(older))
    found = load_config(tmp_path)
    assert (found["pipe"], found["set"]) == (f"curl {COMMAND_NOTE}", "https://h/x")


def test_a_command_on_the_command_line_replaces_the_one_of_a_file(tmp_path):
    save_config(tmp_path, config(tmp_path))
    parser = CommandParser(prog="depthstream finetune", add_help=False)
    parser.add_options(FinetuneConfig)
    words = ["--config", f"{tmp_path}/config.yaml"]
    with pytest.raises(UsageError, match=r"pipe is a command, which is run: .* give --pipe on the command line"):
        build_config(FinetuneConfig, parser.parse_args(words))
    found = build_config(FinetuneConfig, parser.parse_args([*words, "--pipe", "cat {url}"]))
    assert (found.pipe, found.where) == ("cat {url}", "scene == 'a@b:c'")


def test_a_command_that_was_not_kept_is_asked_for(tmp_path):
    save_config(tmp_path, config(tmp_path))
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())["pipe"]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump({"pipe": kept}))
    values = read_file(str(tmp_path / "again.yaml"), options_of(FinetuneConfig))
    with pytest.raises(UsageError, match=r"--pipe: a run folder keeps no command.*give --pipe again"):
        Streaming(shuffle_buffer=1, pipe=values["pipe"])


def test_a_run_from_before_an_option_had_its_default(tmp_path):
    save_config(tmp_path, config(tmp_path))
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    new = ("encoder_lr_factor", "freeze_epochs", "schedule", "warmup", "weight_decay", "clip", "sync_batchnorm")
    (tmp_path / "config.yaml").write_text(yaml.dump({name: one for name, one in written.items() if name not in new}))
    check_same(config(tmp_path), ())
    for changed in ({"schedule": "one-cycle"}, {"warmup": 100.0}, {"clip": 0.0}, {"weight_decay": 0.5}):
        with pytest.raises(UsageError, match=f"begun with --{next(iter(changed)).replace('_', '-')} .*, not "):
            check_same(config(tmp_path, **changed), ())
