"""Several processes: DDP over NCCL, synchronised BatchNorm, and the same global loss as one process."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_checks.bench import Bench, command_of
from gpu_checks.check import Check, bounded, unable
from gpu_checks.runs import LAST, losses, signal_when, start, train, wait
from training.config import FinetuneConfig
from training.network.float32 import full_float32

LIMIT_S = 85
RUN_S, END_S = 50.0, 20.0
LOSS_BOUND = 1e-2
"""Relative, of any step, in float32: the sums are computed in another order, which the optimizer amplifies."""

DRIVER = str(Path(__file__).with_name("forced_ddp.py"))
"""The training command, with a strategy that only these checks ask for."""


def run_one(bench: Bench) -> Iterator[Check]:
    """Train with one process over NCCL."""
    names = ("nccl_one_process", "synchronised_batchnorm", "validation")
    if not bench.on_gpu:
        for name in names:
            yield unable(name, "NCCL, and synchronised BatchNorm, need a GPU")
        return
    config, log = bench.small("one", deterministic=True), bench.folder / "one.log"
    status = wait(_start_nccl(config, log), RUN_S)
    yield compare(names[0], status, config, train_alone(bench), log)
    layers = json.loads((Path(config.out) / "batchnorm.json").read_text())
    yield Check(name=names[1], ok=layers == ["SyncBatchNorm"], why=f"found {', '.join(layers)}")
    metrics = json.loads((Path(config.out) / "metrics.json").read_text())
    ok = bool(metrics["finished"])
    yield Check(name=names[2], ok=ok, why="" if ok else "not finished", figures={"last": metrics["last"]})


def stop_one(bench: Bench) -> Iterator[Check]:
    """Stop a process that trains over NCCL: it aborts its group before anything is torn down."""
    name = "nccl_stopped"
    if not bench.on_gpu:
        yield unable(name, "NCCL needs a GPU")
        return
    config, log = bench.small("one-stopped", checkpoint_every="1steps"), bench.folder / "one-stopped.log"
    process = _start_nccl(config, log)
    signal_when(process, (Path(config.out) / LAST).exists, signal.SIGTERM, RUN_S)
    status = wait(process, END_S)
    why = "" if status == 143 else f"expected status 143, found {status}: {log.read_text()[-500:]}"
    yield Check(name=name, ok=status == 143, why=why, figures={"status": status})


def _start_nccl(config: FinetuneConfig, log: Path) -> "subprocess.Popen[bytes]":
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NCCL_SOCKET_IFNAME": "lo"}
    return start([sys.executable, DRIVER, "nccl", *command_of(config)[3:]], log, environment)


def run_two(bench: Bench) -> Iterator[Check]:
    """Train with two nodes of torchrun of one process each over gloo; on a card, both take it."""
    half = str(bench.sizes.batch // 2)
    config, port = bench.small("two", micro_batch=half, deterministic=True), _free_port()
    # On a CPU BatchNorm is not synchronised: its statistics are those of half a batch, as with halves accumulated.
    expected = train_alone(bench) if bench.on_gpu else train_alone(bench, "halves", micro_batch=half)
    logs = [bench.folder / f"two-{node}.log" for node in (0, 1)]
    processes = [
        start(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}"),
                *("--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"),
                *(DRIVER, "gloo", *command_of(config)[3:]),
            ],
            log,
            {"GLOO_SOCKET_IFNAME": "lo"},
        )
        for node, log in enumerate(logs)
    ]
    deadline = time.monotonic() + RUN_S
    statuses = [wait(process, max(1.0, deadline - time.monotonic())) for process in processes]
    status = next((one for one in statuses if one != 0), 0)
    yield compare("two_processes", status, config, expected, logs[0])


def train_alone(bench: Bench, name: str = "alone", **options: Any) -> list[float]:
    """Return the losses of the run without DDP, in true float32; it is trained by what asks first."""
    config = bench.small(name, deterministic=True, **options)
    if (Path(config.out) / "metrics.json").exists():
        return losses(Path(config.out))
    with full_float32():
        return train(config)


def compare(name: str, status: int | None, config: FinetuneConfig, expected: list[float], log: Path) -> Check:
    """Compare the losses of a run that ended with a status with those of the run without DDP."""
    if status != 0:
        return Check(name=name, ok=False, why=f"expected status 0, found {status}: {log.read_text()[-500:]}")
    found = losses(Path(config.out))
    off = [abs(one / other - 1) for one, other in zip(found, expected, strict=True)]
    return bounded(name, max(off), LOSS_BOUND, first=off[0], losses=found, expected=expected)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


STAGES = (
    (("nccl_one_process", "synchronised_batchnorm", "validation"), run_one),
    (("two_processes",), run_two),
    (("nccl_stopped",), stop_one),
)
