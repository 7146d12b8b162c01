import errno
import subprocess
import sys

import pytest

from sharding.errors import DataError, UsageError
from sharding.making.target import LocalTarget, writing

HOLD = "import sys, time; from pathlib import Path; from sharding.making.target import LocalTarget\n"
HOLD += "with LocalTarget(Path(sys.argv[1])).alone(): print('held', flush=True); time.sleep(60)"


def test_a_second_run_on_the_same_folder_is_refused_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "set")], stdout=subprocess.PIPE)
    try:
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another run is making this set"), LocalTarget(tmp_path / "set").alone():
            pass
        with LocalTarget(tmp_path / "other").alone():
            pass
    finally:
        first.kill()
        first.wait(30)
    with LocalTarget(tmp_path / "set").alone():
        pass


def test_a_full_disk_is_told_from_another_failure(tmp_path):
    for number, advice in ((errno.ENOSPC, "make room"), (errno.EDQUOT, "make room"), (errno.EROFS, "fix that")):
        with pytest.raises(DataError, match=advice), writing(tmp_path):
            raise OSError(number, "No luck")


def test_a_file_where_the_set_should_be_is_said(tmp_path):
    (tmp_path / "set").write_bytes(b"")
    with pytest.raises(DataError, match="set: the set cannot be written: File exists"):
        with writing(tmp_path / "set"), LocalTarget(tmp_path / "set").alone():
            pass
