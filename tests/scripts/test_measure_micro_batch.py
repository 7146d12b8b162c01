import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/measure_micro_batch.py"


def call(*argv):
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True, timeout=170)


@pytest.mark.slow
def test_the_micro_batch_matters_through_live_batchnorm_alone():
    options = ("--batch-size", "4", "--micro-batches", "4", "2", "--steps", "1", "--seeds", "1")
    done = call(*options, "--height", "40", "--width", "40", "--json")
    assert done.returncode == 0, done.stderr
    gradients = {(row["statistics"], row["cut"]): row["gradient"]["median"] for row in json.loads(done.stdout)["rows"]}
    assert set(gradients) == {("live", "2 x 2"), ("live", "other samples"), ("frozen", "2 x 2")}
    assert gradients["frozen", "2 x 2"] < 1e-5
    assert gradients["live", "2 x 2"] > 0.1


@pytest.mark.slow
def test_a_size_that_does_not_divide_the_batch_is_refused():
    done = call("--micro-batches", "8", "3")
    assert done.returncode == 2
    assert "--micro-batches 8 3: expected two sizes or more, each a divisor of the batch of 8" in done.stderr
