"""The time, memory and losses of a step by each way to compute it: the ladder of `bench_step.py`."""

from collections.abc import Iterator
from functools import cache, partial

from step_bench.ladder import GPU_ONLY, LADDER
from step_bench.measure import FORMATS, Ladder, explain_losses
from step_bench.timing import ENOUGH_S

from gpu_checks.bench import Bench
from gpu_checks.check import Check, unable

LIMIT_S = 40
"""Enough for the rungs that `finetune` has by default; give `--only step` for those that take long."""


@cache
def _ladder(bench: Bench) -> Ladder:
    return Ladder(bench.step_size, bench.device, bench.sizes.repeats, ENOUGH_S)


def measure_matmul(bench: Bench) -> Iterator[Check]:
    """Measure the matrix throughput that the device reaches in each format."""
    there = [one for one in FORMATS if bench.on_gpu or one != "tf32"]
    peaks = {f"{one}_flops": _ladder(bench).peak_flops(one) if one in there else None for one in FORMATS}
    yield Check(name="matmul", ok=True, figures=peaks)


def measure_rung(name: str, bench: Bench) -> Iterator[Check]:
    """Measure a rung; its losses must be those of the baseline."""
    if name in GPU_ONLY and not bench.on_gpu:
        yield unable(name, "a CPU has no TF32")
        return
    figures = _ladder(bench).measure(name)
    yield Check(name=name, ok=figures["loss_ok"], why=explain_losses(figures), figures=figures)


STAGES = ((("matmul",), measure_matmul), *(((name,), partial(measure_rung, name)) for name in LADDER))
