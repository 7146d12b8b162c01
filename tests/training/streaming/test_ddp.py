"""Two real processes (gloo, loopback) that stream one set, each with its own workers. Also the script they run."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from torch import distributed

from sharding.reading.shard_set import ShardSet
from training.loading.augment import PairedAugment
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler
from training.streaming.datasets import StreamedDepth
from training.streaming.options import Streaming

ROOT = Path(__file__).parents[3]
LIMIT_S = 120
WORKERS = ((0, "auto"), (2, "fork"), (1, "forkserver"))


def run_rank(rank: int, folder: Path, url: str) -> None:
    """Builds the loaders, then the process group, then iterates: the order in which Lightning does it."""
    opened = ShardSet(url)
    sampler = TrainSampler(len(opened), 8)
    streamed = StreamedDepth(
        opened,
        Streaming(shuffle_buffer=6),
        partial(sampler.upcoming, 2),
        augment=PairedAugment(height=16, width=24),
        seed=1,
    )
    loaders = [
        build_loader(streamed, sampler, Loading(batch_size=2, num_workers=count, start_method=method))
        for count, method in WORKERS
    ]
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    met = []
    for loader in loaders:
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            met.append([list(batch["key"]) for batch in loader])
    distributed.barrier()
    (folder / f"rank{rank}.json").write_text(json.dumps(met))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_each_epoch(diode_sets, tmp_path):
    url, keys = diode_sets[0].url, sorted(diode_sets[0].index["key"])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path), url], env=environment, stderr=-1)
        for rank in (0, 1)
    ]
    try:
        errors = [rank.communicate(timeout=LIMIT_S)[1].decode() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    reports = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert len(reports[0]) == 2 * len(WORKERS)
    for first, second in zip(*reports, strict=True):
        assert len(first) == len(second) == len(keys) // 2 // 2  # as many batches for each rank
        assert sorted(key for batch in first + second for key in batch) == keys


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
