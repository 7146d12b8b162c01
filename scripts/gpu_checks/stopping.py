"""Runs that are killed, stopped, moved between devices and resumed; memory that runs out; what a checkpoint costs."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu_checks.bench import Bench, command_of
from gpu_checks.check import Check, bounded, unable
from gpu_checks.runs import LAST, count_differing, count_left, losses, signal_when, start, wait
from sharding.errors import DataError
from training.checkpoint.writer import AtomicCheckpointIO
from training.config import Accelerator
from training.finetuning import finetune

LIMIT_S = 120
START_S = 60.0
GIVEN_BACK_BYTES = 64 << 20  # other processes of the machine may take a little
MOVED_BOUND = 0.1
"""Relative, of the last loss: another device rounds differently, and what follows amplifies it."""

WHOLE = "whole"
"""The run that nothing disturbs; deterministic, with a small network, as all that are compared with it."""


def kill(bench: Bench) -> Iterator[Check]:
    """Kill a run after its first checkpoint, resume it, and compare with the undisturbed run."""
    whole = train_whole(bench)
    killed = stop_early(bench, "killed", signal.SIGKILL, bench.option)
    finetune.run(resumed(bench, "killed"))
    differing = count_differing(killed, whole)
    yield bounded("killed_and_resumed", differing, 0, tensors_differing=differing)


def train_whole(bench: Bench) -> Path:
    """Return the folder of the undisturbed run; it is trained by what asks first."""
    config = resumed(bench, WHOLE)
    finetune.run(config)
    return Path(config.out)


def resumed(bench: Bench, name: str, **options: Any) -> Any:
    """Return the options with which a run is resumed."""
    return bench.small(name, deterministic=True, resume=True, **options)


def stop_early(bench: Bench, name: str, number: signal.Signals, accelerator: Accelerator) -> Path:
    """Start a run, and send a signal to all its processes once it has a checkpoint; return its folder.

    Raises:
        RuntimeError: It ended before.
    """
    config = bench.small(name, deterministic=True, checkpoint_every="1steps", accelerator=accelerator)
    process = start(command_of(config), bench.folder / f"{name}.log")
    signal_when(process, (Path(config.out) / LAST).exists, number, START_S)
    wait(process, START_S)
    return Path(config.out)


def terminate(bench: Bench) -> Iterator[Check]:
    """Stop a run by SIGTERM, look for what it leaves, and resume it."""
    whole, before = train_whole(bench), _free(bench)
    config = bench.small("stopped", deterministic=True, checkpoint_every="1steps")
    log = bench.folder / "stopped.log"
    process = start(command_of(config), log)
    # Its second step is under way, or done, when the checkpoint of the first is there.
    signal_when(process, (Path(config.out) / LAST).exists, signal.SIGTERM, START_S)
    status = wait(process, START_S)
    why = "" if status == 143 else f"expected status 143, found {status}: {log.read_text()[-300:]}"
    yield Check(name="sigterm", ok=status == 143, why=why, figures={"status": status})
    time.sleep(1.0)
    left = count_left(process.pid)
    yield bounded("nothing_left", left, 0, processes_left=left)
    if bench.on_gpu:
        taken = before - _free(bench)
        yield bounded("memory_given_back", taken, GIVEN_BACK_BYTES, free_before_bytes=before)
    else:
        yield unable("memory_given_back", "a CPU has no memory of its own")
    finetune.run(replace(config, resume=True, checkpoint_every="epoch"))
    differing = count_differing(Path(config.out), whole)
    yield bounded("resumed", differing, 0, tensors_differing=differing)


def _free(bench: Bench) -> int:
    return torch.cuda.mem_get_info(bench.device)[0] if bench.on_gpu else 0


def run_out(bench: Bench) -> Iterator[Check]:
    """Train with less memory than the network takes."""
    name = "out_of_memory"
    if not bench.on_gpu:
        yield unable(name, "a CPU has no memory of its own")
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.005, bench.device)  # of 80 GB
    try:
        finetune.run(bench.finetune("too-large"))
    except DataError as error:
        text = str(error)
        ok = "out of memory" in text and "; give " in text and "\n" not in text
        yield Check(name=name, ok=ok, why="" if ok else "expected a line with the remedy", figures={"said": text})
    else:
        yield Check(name=name, ok=False, why="expected an error, found none")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)


def write_checkpoint(bench: Bench) -> Iterator[Check]:
    """Write what a checkpoint has, weights and AdamW's two moments, as training does, and read it."""
    network = finetune.init_model("none", bench.sizes.encoder).state_dict()
    moments = {name: [value.clone(), value.clone()] for name, value in network.items()}
    copy = bench.folder / "copy.ckpt"
    begin = time.perf_counter()
    AtomicCheckpointIO().save_checkpoint({"state_dict": dict(network), "optimizer_states": moments}, copy)
    saved = time.perf_counter()
    torch.load(copy, map_location="cpu", weights_only=True)
    loaded = time.perf_counter()
    figures = {"bytes": copy.stat().st_size, "save_s": saved - begin, "load_s": loaded - saved}
    copy.unlink()
    yield Check(name="checkpoint", ok=True, figures=figures)


def move_to_cpu(bench: Bench) -> Iterator[Check]:
    """Resume a run of the GPU on the CPU."""
    yield _move(bench, "from_gpu_to_cpu", "gpu", "cpu")


def move_to_gpu(bench: Bench) -> Iterator[Check]:
    """Resume a run of the CPU on the GPU."""
    yield _move(bench, "from_cpu_to_gpu", "cpu", "gpu")


def _move(bench: Bench, name: str, first: Accelerator, then: Accelerator) -> Check:
    if not bench.on_gpu:
        return unable(name, "there is no GPU to move to or from")
    folder = stop_early(bench, name, signal.SIGKILL, first)
    finetune.run(resumed(bench, name, accelerator=then))
    found, expected = losses(folder), losses(train_whole(bench))
    return bounded(name, abs(found[-1] / expected[-1] - 1), MOVED_BOUND, last_loss=found[-1], whole=expected[-1])


STAGES = (
    (("killed_and_resumed",), kill),
    (("sigterm", "nothing_left", "memory_given_back", "resumed"), terminate),
    (("out_of_memory",), run_out),
    (("from_gpu_to_cpu",), move_to_cpu),
    (("from_cpu_to_gpu",), move_to_gpu),
    (("checkpoint",), write_checkpoint),
)
