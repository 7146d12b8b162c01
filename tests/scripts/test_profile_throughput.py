import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts/profile_throughput.py"


def call(*argv):
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True, timeout=120)


def test_the_json_goes_to_stdout_and_the_table_to_stderr(diode_sets):
    done = call(diode_sets[1].url, "--samples", "2", "--repeats", "1", "--num-workers", "0")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["samples"] == 2
    assert data["verdict"]["text"] in done.stderr.splitlines()


def test_a_missing_set_is_a_data_error():
    done = call("nowhere")
    assert done.returncode == 1
    assert "nowhere: expected a shard set with manifest.json" in done.stderr
