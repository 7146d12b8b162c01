"""No command prints or leaves a secret, whatever the address is like that holds it."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import servers
from tests.sharding.test_hiding import NEARLY, SECRET

RUNNER = """
import json, sys, traceback
from training.__main__ import main
for line in sys.stdin:
    sys.argv = ["depthstream", *json.loads(line)]
    print("\\n$", flush=True)
    try:
        status = main()
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = "raised"
    print("\\nended with", status, flush=True)
"""


def run_all(commands, folder, environment):
    """Run commands one after the other in one process; return the statuses, and all that was written."""
    lines = "".join(json.dumps([str(word) for word in command]) + "\n" for command in commands)
    run = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=os.environ | {"DEPTHSTREAM_HTTP_TOKEN": f"t-{SECRET}", "HOME": str(folder)} | environment,
    )
    statuses = [line.removeprefix("ended with ") for line in run.stdout.splitlines() if line.startswith("ended with ")]
    assert len(statuses) == len(commands), run.stderr[-2000:]
    return statuses, run.stdout + run.stderr


def assert_no_secret(written, *folders):
    assert SECRET not in written, next(line for line in written.splitlines() if SECRET in line)
    assert "Traceback" not in written
    for folder in folders:
        for path in Path(folder).rglob("*"):
            assert SECRET not in path.name
            assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@contextmanager
def private_server(root):
    """A web server over `root`, for those who know the password or the token in the query."""

    def respond(handler):
        parts = urlsplit(handler.path)
        if SECRET not in parts.query and not handler.headers["authorization"].startswith("Basic "):
            return servers.answer(handler, 401, f"wrong: {SECRET}".encode())
        file = root / unquote(parts.path.lstrip("/"))
        if not file.is_file():
            return servers.answer(handler, 404, f"{handler.path} is not there".encode())
        given = handler.headers["range"] or ""
        if given.endswith("-") or not given:
            return servers.answer(handler, 200, file.read_bytes(), ETag='"1"')
        return servers.answer_range(handler, file.read_bytes(), ETag='"1"')

    with servers.web_server(respond) as server:
        yield server.url.replace("//", f"//user:{SECRET}@"), server.url


@pytest.fixture
def files(diode_sets, diode_tree, tmp_path):
    """A folder with a set and the archive of its source."""
    root = tmp_path / "served"
    root.mkdir()
    (root / "set").symlink_to(diode_sets[1].url)
    subprocess.run(["tar", "czf", root / "val.tar.gz", "-C", diode_tree, "val"], check=True)
    return root


def test_what_works_with_a_secret_shows_none_and_leaves_none(files, tmp_path):
    with private_server(files) as (private, url):
        given = f"?token={SECRET}"
        commands = [
            ("verify", f"{private}/set"),
            ("verify", f"{private}/set", "--json"),
            ("inspect", f"{private}/set", "--grid", tmp_path / "out" / "grid.png"),
            ("shard", "diode", f"{private}/val.tar.gz{given}", tmp_path / "out" / "a", "--split", "val"),
            ("shard", "diode", f"{url}/val.tar.gz{given}", tmp_path / "out" / "b", "--split", "val", "--json"),
            ("verify", tmp_path / "out" / "a", "--against", f"{private}/val.tar.gz{given}"),
        ]
        (tmp_path / "out").mkdir()
        statuses, written = run_all(commands, tmp_path, {})
    assert statuses == ["0"] * len(commands), written
    assert f"{url}/set: 8 samples" in written
    assert_no_secret(written, tmp_path / "out")


def failing(address):
    """Commands that fail with an address, in each place that takes one."""
    yield from (
        ("verify", address),
        ("verify", address, "--json"),
        ("inspect", address),
        ("inspect", "SET", "--grid", address),
        ("verify", "SET", "--against", address),
        ("verify", "SET", address),
        ("verify", "SET", "--no-such-option", address),
        ("verify", "SET", f"--no-such-option={address}"),
        ("shard", "diode", address, "out/x", "--split", "val"),
        ("shard", "diode", "served", address, "--split", "val"),
        ("shard", "diode", "served", "out/y", "--split", address),
        ("index", address, "out/z"),
        ("index", "served", address),
        ("toyworld", address),
        ("pretrain", address, "--out", "out/run"),
        ("finetune", "SET", "--val", address, "--out", "out/run", "--reader", "webdataset", "--pipe", f"cat {SECRET}"),
        ("finetune", "SET", "--val", "SET", "--out", address),
        ("finetune", "SET", "--val", "SET", "--out", "out/run", "--encoder", address),
        ("finetune", "SET", "--val", "SET", "--out", "out/run", "--config", address),
        ("evaluate", address),
        ("compare", address),
        ("predict", address, "served"),
        ("profile", address),
    )


FORMS = [form.replace("host", "127.0.0.1:1") if form.count("host") == 1 else form for form in NEARLY]
# What would be asked for until it is given up takes seconds each: here are those that are refused before.
REFUSED = [
    address
    for scheme in ("http", "s3")
    for address in (form.format(scheme=scheme, s=SECRET) for form in FORMS)
    if "://127.0.0.1:1" not in address and "@127.0.0.1:1/" not in address
]


@pytest.mark.parametrize("addresses", [REFUSED[::5], pytest.param(REFUSED, marks=pytest.mark.slow)])
def test_what_fails_with_a_secret_shows_none(files, tmp_path, addresses):
    commands = [
        [files / "set" if word == "SET" else word for word in command]
        for address in addresses
        for command in failing(address)
    ]
    (tmp_path / "out").mkdir()
    statuses, written = run_all(commands, tmp_path, {})
    assert set(statuses) <= {"1", "2", "0"}
    assert_no_secret(written, tmp_path / "out")


def test_what_a_server_repeats_is_not_shown(files, tmp_path):
    with private_server(files) as (_, url):
        body = f"<Error><Code>Bad{SECRET}</Code><Message>{SECRET} http://u:{SECRET}@h/?a={SECRET}</Message></Error>"
        refuse = partial(servers.answer, status=403, body=body.encode())
        with servers.web_server(refuse) as store:
            environment = servers.s3_variables(store.url, secret=SECRET) | {"AWS_SESSION_TOKEN": f"s-{SECRET}"}
            commands = [
                ("verify", "s3://bucket/set"),
                ("verify", f"{url}/set"),
                ("verify", f"{url}/none?{SECRET}"),
                ("shard", "diode", "s3://bucket/val.tar.gz", "out/a", "--split", "val"),
                ("shard", "diode", f"{url}/none.tar.gz?X-Amz-Signature={SECRET}", "out/b", "--split", "val", "--json"),
                ("shard", "diode", "served", "s3://bucket/new", "--split", "val"),
            ]
            (tmp_path / "out").mkdir()
            statuses, written = run_all(commands, tmp_path, environment)
    assert set(statuses) <= {"1", "2"}, written
    assert "403" in written
    assert_no_secret(written, tmp_path / "out")
