import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def collect(folder, *options):
    command = [sys.executable, "scripts/wheelhouse.py", str(folder), "--json", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_versions_are_those_of_the_constraints():
    from wheelhouse import CONSTRAINTS, SOURCE_ONLY, read_pins

    pins = read_pins(CONSTRAINTS.read_text())
    assert pins["torch"].startswith("2.11")
    assert {*SOURCE_ONLY, "lightly-train", "typing-extensions"} <= set(pins)
    assert read_pins("# of x==1\nA.b==1.0\n\nc-d==2.post1\n") == {"a-b": "1.0", "c-d": "2.post1"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lacking", "torhc"), "--lacking torhc: constraints.txt has no such package"),
        (("--python-version", "3"), "--python-version 3: expected two numbers, such as 3.12"),
        (("--python-version", "latest"), "--python-version latest"),
    ],
)
def test_what_is_unknown_is_said_before_anything_is_made(tmp_path, options, said):
    done = collect(tmp_path / "wheels", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "wheels").exists()


@pytest.mark.slow  # asks the package index
@pytest.mark.parametrize("version", [(), ("--python-version", "3.12")])
def test_exactly_what_is_lacking_is_collected_and_installs_without_a_network(tmp_path, version):
    wanted = ("--lacking", "webdataset", "braceexpand", "PyYAML", "antlr4-python3-runtime")
    done = collect(tmp_path / "wheels", *version, *wanted)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["wheels"]
    names = sorted(name.split("-")[0].lower() for name in found)
    assert names == ["antlr4_python3_runtime", "braceexpand", "depthstream", "pyyaml", "webdataset"]
    (compiled,) = [name for name in found if name.lower().startswith("pyyaml")]
    assert f"cp{'312' if version else f'{sys.version_info.major}{sys.version_info.minor}'}" in compiled
    if version:
        return  # another Python
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env/bin/python")
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", str(tmp_path / "wheels")]
    subprocess.run([*install, "depthstream", "pyyaml"], check=True, capture_output=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [tmp_path / "env/bin/depthstream", "--help"], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    assert "toyworld" in done.stdout, done.stderr
