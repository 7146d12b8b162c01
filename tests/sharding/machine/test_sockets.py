import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.errors import UsageError
from sharding.machine import sockets
from sharding.machine.sockets import MOST_BYTES, shorten_socket_paths

ROOT = Path(__file__).parents[3]
ASK = """
import multiprocessing, tempfile
from multiprocessing.connection import Listener
from multiprocessing.util import get_temp_dir
from sharding.machine.sockets import shorten_socket_paths
shorten_socket_paths()
with Listener(family="AF_UNIX"):
    print(get_temp_dir(), tempfile.gettempdir())
"""


def folder_of(length, tmp_path):
    """A folder whose path has so many bytes."""
    folder = tmp_path / "t"
    folder = folder / ("x" * max(1, length - len(os.fsencode(folder)) - 1))
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("length", [95, 150, 250])
def test_sockets_are_made_where_their_paths_are_short(length, tmp_path):
    long = folder_of(length, tmp_path)
    environment = os.environ | {"TMPDIR": str(long), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    used, temporary = done.stdout.split()
    assert temporary == str(long)  # other files stay there
    assert len(used) < MOST_BYTES
    assert not Path(used).exists()  # removed at the end


def test_a_short_path_is_left_alone(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    monkeypatch.setattr("tempfile.mkdtemp", lambda **options: pytest.fail("no folder is needed"))
    shorten_socket_paths()


def test_without_a_short_folder_the_remedy_is_told(monkeypatch):
    import multiprocessing

    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/" + "x" * 100)
    monkeypatch.setattr(sockets, "_SHORT", ("/nowhere",))
    with pytest.raises(UsageError, match="set TMPDIR to a shorter path"):
        shorten_socket_paths()
