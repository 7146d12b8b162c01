import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_busy.py"
LEAST = "--steps 3 --repeats 1 --batch-size 1 --height 40 --width 48".split()


@pytest.mark.slow
def test_each_setting_is_measured_beside_each_number_of_processes():
    done = subprocess.run(
        [sys.executable, SCRIPT, *LEAST, "--beside", "0", "1", "--json"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["beside"], row["setting"]) for row in rows] == [
        (beside, setting) for beside in (0, 1) for setting in ("default", "passive", "spin 1e4", "1 thread")
    ]
    assert all(row["wall_ms"] > 0 and row["cpu_ms"] > 0 for row in rows)
    assert [row["over_default"]["median"] for row in rows if row["setting"] == "default"] == [1.0, 1.0]
