import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
POOL = "import multiprocessing\nfrom sharding.machine.main_guard import check_main_guard\n"
WORK = """
    check_main_guard()
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        print(pool.map(abs, [-1, -2, -3]))
"""


def run(script, *options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *options, script], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "guarded",
    [
        f'if __name__ == "__main__":{WORK}',
        f'def main():{WORK}\nif "__main__" == __name__:\n    main()\n',
    ],
)
def test_a_script_with_a_guard_uses_processes(tmp_path, guarded):
    (tmp_path / "script.py").write_text(POOL + guarded)
    done = run(tmp_path / "script.py")
    assert (done.returncode, done.stdout) == (0, "[1, 2, 3]\n"), done.stderr


def test_a_script_without_a_guard_is_told_what_it_lacks_and_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print('once')\n" + POOL + "if True:" + WORK)
    done = run(script)
    assert done.stdout == "once\n"
    last = done.stderr.splitlines()[-1]
    assert f"{script}: worker processes import this script again" in last
    assert 'if __name__ == "__main__":' in last


def test_a_program_that_is_no_file_needs_no_guard():
    done = run(POOL + "if True:" + WORK, "-c")
    assert (done.returncode, done.stdout) == (0, "[1, 2, 3]\n"), done.stderr
