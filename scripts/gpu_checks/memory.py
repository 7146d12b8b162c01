"""Peak memory of a step by size, micro-batch and precision, against what `--micro-batch auto` expects."""

import gc
from collections.abc import Iterator
from functools import partial

import torch
from step_bench.ladder import LADDER, Rung
from step_bench.step import Step, StepSize

from gpu_checks.bench import Bench
from gpu_checks.check import Check
from training.finetuning.memory import USABLE, StepMemory
from training.model.cost import compute_cost

LIMIT_S = 40
MICRO_BATCHES = (1, 2, 4)


def lacks(bench: Bench) -> str:
    """Return why it cannot be done here."""
    return "" if bench.on_gpu else "a CPU has no memory of its own"


def measure(name: str, large: bool, bf16: bool, bench: Bench) -> Iterator[Check]:
    """Take two steps of each micro-batch; the peak must stay within what the estimate leaves of the memory."""
    sizes = bench.sizes
    height, width = (sizes.step_height, sizes.step_width) if large else (sizes.height, sizes.width)
    precision = "bf16-mixed" if bf16 else "32-true"
    need = StepMemory.estimate(compute_cost(sizes.encoder, height, width, precision, recompute=False), 1)
    rows = []
    for micro_batch in MICRO_BATCHES:
        peak = _peak_bytes(
            bench,
            LADDER["bf16" if bf16 else "fused"],
            StepSize(encoder=sizes.encoder, height=height, width=width, batch=micro_batch),
        )
        expected = need.total(micro_batch)
        rows.append({"micro_batch": micro_batch, "peak_bytes": peak, "expected_bytes": expected})
    over = [row for row in rows if row["peak_bytes"] > row["expected_bytes"] / USABLE]
    why = f"more than expected: {over[0]}" if over else ""
    yield Check(name=name, ok=not over, why=why, figures={"height": height, "width": width, "rows": rows})


def _peak_bytes(bench: Bench, rung: Rung, size: StepSize) -> int:
    gc.collect()
    torch.cuda.init()  # type: ignore[no-untyped-call]  # "Invalid device argument" before it
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(bench.device)
    step = Step(size, rung, bench.device)
    for _ in range(2):  # the first makes the optimizer's state
        step()
    torch.cuda.synchronize(bench.device)
    return torch.cuda.max_memory_allocated(bench.device)


STAGES = (
    (("small",), partial(measure, "small", False, False)),
    (("large",), partial(measure, "large", True, False)),
    (("small_bf16",), partial(measure, "small_bf16", False, True)),
    (("large_bf16",), partial(measure, "large_bf16", True, True)),
)
