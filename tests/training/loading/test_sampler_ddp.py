"""Two real processes (gloo, loopback), each a rank with its own loader workers. Also the script that they run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from training.launch.world import World
from training.loading.sampler import EvalSampler, TrainSampler

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LIMIT_S = 120  # for both processes together; they take about 5 s on an idle machine


class Echo(Dataset):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item


def seen(loader: DataLoader) -> list[list[list[int]]]:
    """Batches of [epoch, position]."""
    return [list(map(list, zip(*(part.tolist() for part in batch), strict=True))) for batch in loader]


def run_rank(rank: int, folder: Path) -> None:
    """Builds samplers and loaders, then the process group, then iterates: the order in which Lightning does it."""
    train, evaluate = TrainSampler(45, 8), EvalSampler(13, 3)
    train_loader = DataLoader(Echo(), 2, sampler=train, num_workers=2)
    eval_loader = DataLoader(Echo(), 3, sampler=evaluate, num_workers=2)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    report = {"world": [World.current().rank, World.current().size], "train": [], "eval": seen(eval_loader)}
    for epoch in (0, 1):
        train.set_epoch(epoch)
        report["train"].append(seen(train_loader))
    train.resume(1, 24)
    report |= {"resumed": seen(train_loader), "num_batches": [len(train_loader), len(eval_loader)]}
    distributed.barrier()
    (folder / f"rank{rank}.json").write_text(json.dumps(report))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    logs = [(folder / f"rank{rank}.err").open("w+") for rank in (0, 1)]
    command = [sys.executable, __file__]
    ranks = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, stderr=logs[rank]) for rank in (0, 1)
    ]
    try:
        for rank in ranks:
            rank.wait(LIMIT_S / 2)
    except subprocess.TimeoutExpired:
        pass  # killed below, and told apart by its return code
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    errors = [Path(log.name).read_text() for log in logs]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def flat(batches: list[list[list[int]]]) -> list[int]:
    return [position for batch in batches for _, position in batch]


def test_a_world_made_before_the_process_group_knows_its_rank(reports):
    assert [report["world"] for report in reports] == [[0, 2], [1, 2]]


def test_two_processes_train_on_every_position_once_but_the_tail(reports):
    for epoch in (0, 1):
        ranks = [report["train"][epoch] for report in reports]
        assert sorted(flat(ranks[0]) + flat(ranks[1])) == list(range(40))
        assert {pair[0] for rank in ranks for batch in rank for pair in batch} == {epoch}


def test_two_processes_take_the_same_steps_of_the_same_global_batches(reports):
    first, second = (report["train"][0] for report in reports)
    assert len(first) == len(second) == 10  # 5 global steps of 2 micro-batches
    for step in range(5):
        batch = flat(first[2 * step : 2 * step + 2]) + flat(second[2 * step : 2 * step + 2])
        assert batch == list(range(8 * step, 8 * step + 8))


def test_two_processes_resume_where_they_stood(reports):
    assert sorted(flat(reports[0]["resumed"]) + flat(reports[1]["resumed"])) == list(range(24, 40))
    assert [report["num_batches"] for report in reports] == [[10, 3], [10, 3]]


def test_two_processes_evaluate_every_sample_once(reports):
    ranks = [report["eval"] for report in reports]
    assert sorted(flat(ranks[0]) + flat(ranks[1])) == list(range(14))  # 13 is the padding
    assert [len(batch) for batch in ranks[0]] == [len(batch) for batch in ranks[1]] == [3, 3, 1]


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
