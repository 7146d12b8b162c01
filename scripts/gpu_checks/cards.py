"""What needs two GPUs: the same loss over NCCL, a rank that fails ends all, and cards of unequal memory."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from gpu_checks.bench import Bench, command_of
from gpu_checks.check import Check, bounded
from gpu_checks.ranks import compare, train_alone
from gpu_checks.runs import LAST, count_left, start, wait
from training.finetuning.memory import USABLE, StepMemory
from training.model.cost import compute_cost

LIMIT_S = 150
RUN_S, END_S = 60.0, 30.0


def lacks(bench: Bench) -> str:
    """Return why it cannot be done here."""
    return "" if bench.cards > 1 else f"two cards are needed, found {bench.cards}"


def run_two(bench: Bench) -> Iterator[Check]:
    """Train on two cards over NCCL."""
    half = str(bench.sizes.batch // 2)
    config, log = bench.small("cards", devices="2", micro_batch=half, deterministic=True), bench.folder / "cards.log"
    # True float32, as the run that it is compared with.
    status = wait(start(command_of(config), log, {"NVIDIA_TF32_OVERRIDE": "0"}), RUN_S)
    yield compare("nccl_two_processes", status, config, train_alone(bench), log)


def kill_rank(bench: Bench) -> Iterator[Check]:
    """Kill a rank in the middle: all must end soon."""
    half = str(bench.sizes.batch // 2)
    config = bench.small("cards-killed", devices="2", micro_batch=half, checkpoint_every="1steps", epochs=1000)
    process = start(command_of(config), bench.folder / "cards-killed.log")
    deadline = time.monotonic() + RUN_S
    while not (Path(config.out) / LAST).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    rank = next(child for child in children if "LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_text())
    begin = time.monotonic()
    os.kill(int(rank), signal.SIGKILL)
    wait(process, RUN_S)
    seconds = time.monotonic() - begin
    yield bounded("failing_rank", seconds, END_S, processes_left=count_left(process.pid))


def occupy_one(bench: Bench) -> Iterator[Check]:
    """Leave the second card the memory of two samples, and let --micro-batch auto decide."""
    cost = compute_cost(
        bench.sizes.encoder, bench.sizes.step_height, bench.sizes.step_width, "32-true", recompute=False
    )
    need, card = StepMemory.estimate(cost, 2), torch.device("cuda", 1)
    left = int((need.state + 2.5 * need.sample) / USABLE)
    taken = torch.empty(torch.cuda.mem_get_info(card)[0] - left, dtype=torch.uint8, device=card)
    config = bench.finetune(
        "cards-unequal", set=bench.large, height=bench.sizes.step_height, width=bench.sizes.step_width, batch_size=16,
        devices="2", micro_batch="auto", epochs=1,
    )  # fmt: skip
    log = bench.folder / "cards-unequal.log"
    status = wait(start(command_of(config), log), RUN_S)
    del taken
    chosen = re.search(r"batch 16 = 2 ranks x (\d+) x (\d+)", log.read_text())
    micro_batch = int(chosen[2]) if chosen else None
    ok = status == 0 and micro_batch == 2
    why = (
        "" if ok else f"expected status 0 and micro-batch 2, found {status} and {micro_batch}: {log.read_text()[-300:]}"
    )
    yield Check(name="unequal_memory", ok=ok, why=why, figures={"status": status, "micro_batch": micro_batch})


STAGES = (
    (("nccl_two_processes",), run_two),
    (("failing_rank",), kill_rank),
    (("unequal_memory",), occupy_one),
)
