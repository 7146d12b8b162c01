"""Two processes learn what one learns, over many steps of the real network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.model.twenty_steps import STEPS, losses_of_run

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*no .val_datal")
def test_two_processes_and_one_agree_for_twenty_steps(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "tests.training.model.twenty_steps", str(tmp_path)],
        cwd=ROOT, env=environment, check=True, timeout=500,
    )  # fmt: skip
    alone, *ranks = losses_of_run(1), *(json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert len(alone) == STEPS
    assert [losses == pytest.approx(alone, rel=1e-4) for losses in ranks] == [True, True]
