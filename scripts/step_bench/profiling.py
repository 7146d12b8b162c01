"""Which operations the time of a step goes to."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

from step_bench.step import Step
from step_bench.timing import synchronize

STEPS, MOST = 2, 15


def profile_step(step: Step) -> list[dict[str, Any]]:
    """Return the operations that take most time, of a warm step: kernels on a GPU, operators on a CPU.

    Returns:
        At most `MOST` rows {name, calls and ms of a step, share of the time of all}, longest first.
    """
    on_gpu = step.device.type == "cuda"
    kind = "CUDA" if on_gpu else "CPU"
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=kinds) as found:
        for _ in range(STEPS):
            step()
        synchronize(step.device)
    rows = [
        (event.key, event.count, event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in found.key_averages()
        # On a GPU operators repeat the time of their kernels, and ranges with a name that of what is in them.
        if event.device_type.name == kind and not event.is_user_annotation
    ]
    whole = sum(microseconds for *_, microseconds in rows)
    longest = sorted(rows, key=lambda row: -row[2])[:MOST]
    return [
        {
            "name": name[:80],
            "calls": calls / STEPS,
            "ms": microseconds / 1000 / STEPS,
            "share": microseconds / whole,
        }
        for name, calls, microseconds in longest
    ]
