"""Small files of run folders, as others may have made them."""

import importlib
import json
import os
import re
import sys

import pytest

from sharding.errors import DataError
from training.finetuning.record import RunSets, read_curves
from training.report.arms.run import read_run
from training.run_files import file_sha256, find_versions, read_json
from training.runfolder import is_finished, load_config

USED = {"name": "a", "identity": "b", "where": None, "samples": 3}
SETS = {"train": USED, "val": USED}


def message(call, *arguments):
    """The refusal: one short line."""
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected JSON, found 0 bytes of something else"),
        (b"\xff\xfe{}", "expected JSON, found 4 bytes of something else: 'utf-8' codec"),
        (b"[" * 10**5, "expected records, found 100000 objects and lists"),
        (b'{"train": ' + b"9" * 5000 + b"}", "expected JSON, found 5011 bytes of something else: Exceeds the limit"),
        (b"[]", "expected object, found a list of 0"),
        (b"null", "expected object, found null"),
        (json.dumps(SETS | {"val": None}).encode(), "val: expected object, found null"),
        (json.dumps({"train": USED}).encode(), "expected a field val, found none"),
        (json.dumps(SETS | {"val": USED | {"identity": 3}}).encode(), "val.identity: expected str, found 3"),
        (json.dumps(SETS | {"val": USED | {"samples": 2**70}}).encode(), "val.samples: "),
        (json.dumps(SETS | {"val": USED | {"samples": -1}}).encode(), "val.samples: expected int >= 0, found -1"),
        (json.dumps(SETS | {"val": USED | {"samples": float("nan")}}).encode(), "val.samples: expected int, found NaN"),
        (json.dumps(SETS | {"val": USED | {"samples": True}}).encode(), "val.samples: expected int, found true"),
        (
            json.dumps(SETS | {"val": USED | {"name": "x" * 5000}}).encode(),
            "val.name: expected str of length <= 4096, found",
        ),
    ],
)
def test_a_json_file_of_another_form_is_refused_by_field(tmp_path, content, said):
    file = tmp_path / "metrics.json"
    file.write_bytes(content)
    assert message(read_json, file, RunSets).startswith(f"{file}: {said}")


def test_a_sound_one_is_read(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(SETS | {"finished": True, "last": {"loss": float("nan")}}))
    assert read_json(tmp_path / "metrics.json", RunSets).val.samples == 3
    assert is_finished(tmp_path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "metrics.json")
    assert message(is_finished, tmp_path).endswith(
        "expected a regular file that can be read: it is a FIFO (named pipe), not a file"
    )
    (tmp_path / "folder").mkdir()
    assert message(read_json, tmp_path / "folder", RunSets).endswith("Is a directory")
    (tmp_path / "curves.csv").symlink_to("/dev/zero")
    assert message(read_curves, tmp_path).endswith("it is a device, not a file")


def test_a_large_one_is_refused_without_being_read(tmp_path):
    with (tmp_path / "curves.csv").open("wb") as file:
        file.truncate(20 << 30)
    assert "21474836480 bytes; at most" in message(read_curves, tmp_path)


HEADER = "epoch,samples_seen,seconds,train_loss,val_abs_rel\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected the columns epoch, samples_seen, train_loss, val_abs_rel, each once, found "),
        ("colour,shape\n1,2\n", "expected the columns .*, found colour, shape"),
        (HEADER.replace("seconds", "epoch") + "1,1,1,1,1\n", "each once"),
        (HEADER, "expected a row for each epoch, found none"),
        (HEADER + "1,2,3\n", "line 2: expected 5 values, found 3"),
        (HEADER + "0,4,1,1,1\n1,8,1,deep,1\n", "line 3, train_loss: expected a number, found 'deep'"),
        (HEADER + "nan,8,1,1,1\n", "line 2, epoch: expected a whole number, found nan"),
        (HEADER + "0.5,8,1,1,1\n", "line 2, epoch: expected a whole number, found 0.5"),
        (HEADER + "1e30,8,1,1,1\n", "line 2, epoch: expected a whole number"),
        (HEADER + "0,inf,1,1,1\n", "line 2, samples_seen: expected a whole number, found inf"),
        (HEADER + "0,\x00,1,1,1\n", "line 2, samples_seen: expected a number|line contains NUL"),
        ("a," * 10**6 + "\n", "expected at most 100000 rows of 4096 characters"),
        ("\n" * 10**6, "expected at most 100000 rows"),
        (HEADER + '"0,8,1,1,1\n', "line 2|unexpected end of data"),
    ],
)
def test_curves_of_another_form_are_refused_by_line_and_column(tmp_path, content, said):
    (tmp_path / "curves.csv").write_text(content)
    assert re.search(said, message(read_curves, tmp_path))


def test_values_of_a_run_that_diverged_are_read(tmp_path):
    (tmp_path / "curves.csv").write_text(HEADER + "0,8,1.5,nan,inf\n")
    assert [str(value) for value in read_curves(tmp_path)[0].values()] == ["0.0", "8.0", "1.5", "nan", "inf"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected the options of a run, found none named "),
        ("- 1\n", "expected a mapping of option names to values, found a list"),
        ("set: a\nval: b\nout: c\nepochs: many\n", "line 4: epochs: expected a whole number"),
        ("set: a\nval: b\nout: c\nepochs: 99999999999999999999\n", "line 4: epochs: expected a whole number"),
        ("set: a\nval: b\nout: c\nseed: [1]\n", "line 4: seed: expected a whole number"),
        ("set: a\nval: b\nout: c\ncolour: red\n", "line 4: no option named colour"),
        ("set: !!python/object/apply:os.system ['touch canary']\nval: b\nout: c\n", "line 1: tags are not read"),
        ("set: &a a\nval: *a\nout: c\n", "line 2: aliases are not read"),
        ("[" * 10**4, "nested too deeply|readable YAML"),
        ("set: null\nval: b\nout: c\n", "line 1: set: expected"),
        ("sets: [a]\nout: c\nmethod: elephant\n", "line 3: method: expected one of"),
        ("sets: a\n", "found none named out"),
        ("x" * 2 * 10**6, "expected a file of options, found more than"),
    ],
)
def test_options_of_another_form_are_refused_by_line(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(content)
    found = message(load_config, tmp_path)
    assert found.startswith(f"{tmp_path}/config.yaml")
    assert re.search(said, found)
    assert not (tmp_path / "canary").exists()


def test_a_pretraining_run_is_no_arm(tmp_path):
    (tmp_path / "config.yaml").write_text("sets: [a]\nout: c\n")
    (tmp_path / "metrics.json").write_text(json.dumps(SETS))
    (tmp_path / "curves.csv").write_text(HEADER + "0,8,1,1,1\n")
    assert "is it a run of `depthstream finetune`" in message(read_run, tmp_path)


def test_versions_are_those_installed_and_of_loaded_packages_with_their_build(tmp_path, monkeypatch):
    (tmp_path / "built-1.2.dist-info").mkdir()
    (tmp_path / "built-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.2\n")
    (tmp_path / "built.py").write_text("__version__ = '1.2+cu128'\n")
    monkeypatch.syspath_prepend(tmp_path)
    python = ".".join(map(str, sys.version_info[:3]))
    assert find_versions(["built", "not-installed"]) == {"python": python, "built": "1.2"}
    monkeypatch.setitem(sys.modules, "built", importlib.import_module("built"))
    assert find_versions(["built"])["built"] == "1.2+cu128"


def test_the_hash_of_a_file_is_that_of_its_bytes_and_a_pipe_has_none(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    os.mkfifo(tmp_path / "pipe")
    assert "expected a regular file" in message(file_sha256, tmp_path / "pipe")
