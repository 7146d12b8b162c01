"""The time, memory and losses of a step by each way to compute it: the ladder of `bench_step.py`."""

from collections.abc import Iterator
from functools import cache, partial

from step_bench.ladder import BASELINE, FED, GPU_ONLY, LADDER
from step_bench.measure import FORMATS, Ladder, explain_losses

from gpu_checks.bench import Bench
from gpu_checks.check import Check, unable

LIMIT_S = 40
"""For the first rungs; all of them, compiling included, take some minutes: give `--only step`."""

TURNS_S = 1.0
"""Seconds after which a rung is not timed again."""

NAMES = tuple(dict.fromkeys((BASELINE, FED["cuda"], *LADDER)))
"""Most important first."""


@cache
def _ladder(bench: Bench) -> Ladder:
    return Ladder(bench.step_size, bench.device, bench.sizes.repeats, TURNS_S)


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


STAGES = ((("matmul",), measure_matmul), *(((name,), partial(measure_rung, name)) for name in NAMES))
