"""Two real processes (gloo, loopback), of which one waits for its loader. Also the script that they run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.profilers import PassThroughProfiler
from torch import distributed

from training.monitoring.monitor import FETCH, RANK_TAG, RATE_TAG, WAIT_TAG, ThroughputMonitor
from training.monitoring.rank_waits import Gathered, RankWaits
from training.monitoring.timeline import HostTimeline

ROOT = Path(__file__).parents[3]
LIMIT_S = 300  # they take 3 s on an idle machine, nearly all of it for imports
WAITS_S = {0: [1.0, 1.0, 4.0], 1: [3.0, 9.0, 0.0]}  # of the steps of each rank, each of which computes for a second


def run_rank(rank: int, folder: Path) -> None:
    """The hooks as Lightning calls them, with a clock that is told how long things take."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    now, logged = [0.0], []
    logger = SimpleNamespace(log_metrics=lambda figures, step: logged.append([step, figures]))
    trainer = SimpleNamespace(
        is_global_zero=rank == 0, world_size=2, global_step=0, loggers=[logger], profiler=PassThroughProfiler()
    )
    monitor = ThroughputMonitor(1, HostTimeline(lambda: now[0]))
    monitor.on_fit_start(trainer, None)
    monitor.on_train_start(trainer, None)
    for wait_s in WAITS_S[rank]:
        with trainer.profiler.profile(f"[_TrainingEpochLoop].{FETCH}"):
            now[0] += wait_s
        now[0] += 1.0
        trainer.global_step += 1
        monitor.on_train_batch_end(trainer, None, None, torch.ones(2, 1), 0)
    monitor.on_train_epoch_end(trainer, None)
    monitor.on_train_end(trainer, None)
    monitor.teardown(trainer, None, "fit")
    (folder / f"rank{rank}.json").write_text(json.dumps(logged))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_the_slow_rank_is_named_with_its_share(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)]
    try:
        assert [rank.wait(LIMIT_S) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    logged, others = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert others == []
    assert logged == [
        [0, {RATE_TAG: 4 / 2, WAIT_TAG: 3 / 4, RANK_TAG: 1.0}],
        [1, {RATE_TAG: 4 / 2, WAIT_TAG: 9 / 10, RANK_TAG: 1.0}],
        [2, {RATE_TAG: 4 / 5, WAIT_TAG: 4 / 5, RANK_TAG: 0.0}],
    ]


def test_a_single_rank_is_told_at_once():
    waits = RankWaits(1)
    waits.add("window", 0.25)
    assert list(waits.take()) == [Gathered(window="window", share=0.25, rank=0)]
    assert list(waits.take()) == []


class Hanging:
    """A gathering that no other rank takes part in."""

    def is_completed(self) -> bool:
        return False

    def wait(self, _: object) -> None:
        raise RuntimeError("timed out")


def test_windows_of_a_rank_that_is_gone_are_forgotten():
    waits = RankWaits(1)
    waits._pending.append(("window", [torch.zeros(1)], Hanging()))
    waits.add("later", 0.5)
    assert list(waits.take()) == []
    waits.finish()
    assert list(waits.take()) == []


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
