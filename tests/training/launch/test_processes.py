"""Two real ranks (gloo, loopback) that Lightning starts, of which one comes to grief. Also the script that they run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, distributed
from torch.utils.data import DataLoader

from sharding.errors import DataError, Interrupted, UsageError
from training.launch import processes
from training.launch.devices import place
from training.launch.processes import ending_together, explain
from training.launch.world import World

ROOT = Path(__file__).parents[3]
LIMIT_S, LONG_S = 120, 600  # for a job, of about 10 s on an idle machine; what a rank hangs for, if nobody ends it
DAMAGE = "shard a.tar, key k: expected a PNG, found none"
FIRST, SECOND = World(0, 2), World(1, 2)


def misbehave(how: str, rank: int) -> None:
    """What happens in the third step of the job `how`."""
    if how == f"rank {rank} fails" or (how == "rank 0 fails, the other hangs" and rank == 0):
        raise DataError(DAMAGE)
    if how == f"rank {rank} has a bug":
        raise LookupError("nobody foresaw this")
    if how == "both are stopped":
        raise Interrupted(signal.SIGTERM, "stopped at step 3")
    if how.startswith(f"rank {rank} is killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if how.endswith("the other hangs"):
        time.sleep(LONG_S)


class Line(LightningModule):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        if index == 2:
            misbehave(self.how, self.global_rank)
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def train(how: str) -> None:
    """The job, in each of its ranks."""
    processes.GRACE_S = 3.0
    placement = place("cpu", 2)
    trainer = Trainer(
        **placement.trainer_arguments(),
        plugins=[placement.make_environment()],
        strategy="ddp",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with ending_together(placement, trainer.strategy):
        trainer.fit(Line(how), DataLoader(torch.zeros(16, 1)))


def run_job(how: str, folder: Path) -> tuple[int, str]:
    """Exit status of rank 0, and what all ranks said, once all of them have ended."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    path, deadline = folder / "stderr", time.monotonic() + LIMIT_S
    with path.open("w") as log:
        job = subprocess.Popen(
            [sys.executable, __file__, how], env=environment, stderr=log, stdout=log, start_new_session=True
        )
    try:
        status = job.wait(LIMIT_S)
        while is_alive(job.pid):
            assert time.monotonic() < deadline, f"processes are left: {path.read_text()}"
            time.sleep(0.2)
        return status, path.read_text()
    finally:
        if is_alive(job.pid):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def is_alive(group: int) -> bool:
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("nothing", 0, []),
        ("rank 0 fails", 1, [f"rank 0 of 2: {DAMAGE}"]),
        ("rank 1 fails", 1, [f"rank 1 of 2: {DAMAGE}", "rank 0 of 2: lost another rank (rank 1 ended with status 1)"]),
        ("rank 0 fails, the other hangs", 1, [f"rank 0 of 2: {DAMAGE}"]),
        ("rank 1 is killed", 1, ["rank 0 of 2: lost another rank (rank 1 was killed by SIGKILL)"]),
        ("rank 1 is killed, the other hangs", 1, ["rank 0 of 2: lost another rank (rank 1 was killed by SIGKILL)"]),
        ("rank 0 is killed", -signal.SIGKILL, ["rank 1 of 2: lost another rank ("]),
        ("rank 0 is killed, the other hangs", -signal.SIGKILL, ["rank 1 of 2: lost another rank (rank 0, process "]),
        ("rank 1 has a bug", 1, ["[rank1]: LookupError: nobody foresaw this\n", "rank 0 of 2: lost another rank ("]),
        ("both are stopped", 128 + signal.SIGTERM, ["\nstopped at step 3\n"]),
    ],
)
def test_all_ranks_end_and_say_why(how, status, said, tmp_path):
    found, text = run_job(how, tmp_path)
    assert found == status, text
    assert [line for line in said if line not in "\n" + text] == [], text


def test_the_rank_is_named_if_there_are_several():
    error = DataError(DAMAGE)
    assert str(explain(error, World(0, 1))) == DAMAGE
    assert str(explain(error, SECOND)) == f"rank 1 of 2: {DAMAGE}"
    assert isinstance(explain(UsageError("no"), SECOND), UsageError)


def test_a_worker_that_died_while_it_handed_a_batch_over_is_told():
    def _try_get_data():  # as torch calls the place
        raise EOFError

    with pytest.raises(EOFError) as caught:
        _try_get_data()
    said = explain(caught.value, SECOND)
    assert type(said) is DataError
    assert str(said).startswith("rank 1 of 2: a loader worker was killed (signal not known); the usual cause")
    assert explain(elsewhere := EOFError(), SECOND) is elsewhere


def test_the_first_error_that_is_ours_is_told():
    def fail_at_the_end():
        try:
            raise DataError(DAMAGE)
        finally:
            raise RuntimeError("Connection closed by peer")  # in teardown, say

    with pytest.raises(RuntimeError) as caught:
        fail_at_the_end()
    assert str(explain(caught.value, SECOND)) == f"rank 1 of 2: {DAMAGE}"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]"
        ),
        distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1, remote process exited"),
    ],
)
def test_a_lost_rank_is_told_with_what_to_do(error):
    said = explain(error, FIRST, ["rank 1 was killed by SIGKILL"])
    assert isinstance(said, DataError)
    assert str(said).startswith("rank 0 of 2: lost another rank (rank 1 was killed by SIGKILL); its own error is above")
    assert str(said).endswith("run again with --resume")
    assert str(error) in str(explain(error, FIRST))


def test_a_stop_and_what_nobody_foresaw_stay_as_they_are():
    for error in (Interrupted(signal.SIGTERM, "stopped"), KeyboardInterrupt(), LookupError("bug")):
        assert explain(error, SECOND) is error
    alone = RuntimeError("Connection closed by peer")
    assert explain(alone, World(0, 1)) is alone


def test_a_killed_loader_worker_is_told_in_words():
    class Deadly(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, item: int) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return item

    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Deadly(), num_workers=1))
    assert "a loader worker (pid " in str(explain(caught.value, World(0, 1)))


if __name__ == "__main__":
    try:
        train(sys.argv[1])
    except (DataError, Interrupted) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1 if isinstance(error, DataError) else 128 + error.signal_number)
