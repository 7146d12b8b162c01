import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.machine.user import ensure_user_name

# The interpreter may be in a folder of root's: may read all, but is another user.
AS_NOBODY = "setpriv --reuid=12345 --inh-caps=+dac_read_search --ambient-caps=+dac_read_search".split()
ROOT = Path(__file__).parents[3]


def test_a_user_without_an_entry_gets_a_name(monkeypatch):
    def missing(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", missing)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    ensure_user_name()
    assert getpass.getuser() == f"uid-{os.getuid()}"


def test_a_name_that_is_there_is_kept(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    ensure_user_name()
    assert os.environ["LOGNAME"] == "somebody"


@pytest.mark.slow  # imports torch
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root may take another user id")
def test_torch_is_imported_by_a_user_without_an_entry(tmp_path):
    code = (
        "from sharding.machine.user import ensure_user_name; ensure_user_name()\n"
        "import torch._inductor.runtime.cache_dir_utils as cache; print(cache.default_cache_dir())"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
    done = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "TMPDIR": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "uid-12345" in done.stdout, done.stderr
