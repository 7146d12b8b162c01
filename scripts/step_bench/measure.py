"""Each rung against the baseline: the same losses, time in turn with it, and memory."""

import gc
import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from step_bench.ladder import BASELINE, LADDER, Format
from step_bench.profiling import profile_step
from step_bench.step import Step, StepSize, count_flop
from step_bench.timing import Spent, matmul_flops, time_in_turn

LOSS_STEPS = 4
"""Steps from the same weights whose losses are compared; they warm up what is timed after them."""

LOSS_BOUNDS: dict[Format, tuple[float, float]] = {"float32": (1e-5, 1e-3), "tf32": (2e-3, 1e-2), "bf16": (1e-2, 2e-2)}
"""Largest relative difference from the baseline's, of the first loss and of those after it, by the coarser format.

The first tells of the forward pass alone. After it AdamW moves each weight about as far for a small gradient as for a
large one, so what was rounded grows.
"""

FORMATS: tuple[Format, ...] = ("float32", "tf32", "bf16")
"""From the finest to the coarsest."""


@dataclass(frozen=True)
class _Run:
    """A step that has been taken `LOSS_STEPS` times: its losses, and the bytes it had at most (None on a CPU)."""

    step: Step
    losses: list[float]
    peak_bytes: int | None


class Ladder:
    """The rungs on a device, each measured when it is asked for.

    Args:
        size: What a step computes.
        device: Where.
        repeats: Of what is timed.
        enough_s: Seconds after which a rung is not timed once more, if it was twice.

    Attributes:
        peaks: Operations a second that matrix products reached, by format, as far as they were measured.
    """

    def __init__(self, size: StepSize, device: torch.device, repeats: int, enough_s: float = math.inf) -> None:
        self._size, self._device, self._repeats, self._enough_s = size, device, repeats, enough_s
        self.peaks: dict[Format, float] = {}

    def measure(self, name: str, profiled: bool = False) -> dict[str, Any]:
        """Measure a rung; the baseline stays on the device, and its bytes do not count.

        Args:
            name: Of the rung.
            profiled: Whether to add what the time goes to, see `profile_step`.

        Returns:
            Figures; `over_eager` is the time of the baseline's step over that of this one, each pair in turn.
        """
        rung, base = LADDER[name], self._baseline
        run = base if name == BASELINE else self._begin(name)
        steps = [base.step] if run is base else [base.step, run.step]
        spent = time_in_turn(steps, self._device, self._repeats, self._enough_s)
        flops = count_flop(self._size) / (statistics.median(spent[-1].wall) / 1000)
        number_format = rung.format_on(self._device)
        return {
            "adds": rung.adds,
            "to": rung.to,
            "format": number_format,
            **_summarize(spent),
            "images_per_s": 1000 * self._size.batch / statistics.median(spent[-1].wall),
            "share_of_matmul_peak": flops / self.peak_flops(number_format),
            "peak_bytes": run.peak_bytes,
            "profile": profile_step(run.step) if profiled else None,
            **compare_losses(run.losses, base.losses, self._coarser(number_format)),
        }

    def close(self) -> None:
        """Give back the memory of the baseline."""
        self.__dict__.pop("_baseline", None)
        gc.collect()

    def peak_flops(self, number_format: Format) -> float:
        """Return the operations a second that matrix products of a format reach, measured once."""
        if number_format not in self.peaks:
            on_gpu = self._device.type == "cuda"
            dtype = torch.bfloat16 if number_format == "bf16" else torch.float32
            with LADDER["eager_tf32" if number_format == "tf32" else BASELINE].formats():
                self.peaks[number_format] = matmul_flops(self._device, dtype, 8192 if on_gpu else 512, 5)
        return self.peaks[number_format]

    @cached_property
    def _baseline(self) -> _Run:
        return self._begin(BASELINE)

    def _begin(self, name: str) -> _Run:
        """Take the first steps of a rung."""
        on_gpu = self._device.type == "cuda"
        before = 0
        if on_gpu:
            gc.collect()
            torch.cuda.init()  # type: ignore[no-untyped-call]  # "Invalid device argument" before it
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            before = torch.cuda.memory_allocated(self._device)
        step = Step(self._size, LADDER[name], self._device)
        losses = [float(step()) for _ in range(LOSS_STEPS)]  # waits for the device
        peak = torch.cuda.max_memory_allocated(self._device) - before if on_gpu else None
        return _Run(step, losses, peak)

    def _coarser(self, number_format: Format) -> Format:
        return max(number_format, LADDER[BASELINE].format_on(self._device), key=FORMATS.index)


def compare_losses(losses: Sequence[float], base: Sequence[float], number_format: Format) -> dict[str, Any]:
    """Compare losses with those of the baseline, step by step, within the bounds of a format."""
    differences = [abs(one / other - 1) for one, other in zip(losses, base, strict=True)]
    first, later = LOSS_BOUNDS[number_format]
    bounds = [first] + [later] * (len(differences) - 1)
    return {
        "losses": list(losses),
        "first_loss_difference": differences[0],
        "loss_difference": max(differences),
        "loss_bounds": [first, later],
        "loss_ok": all(map(operator.le, differences, bounds)),  # not of NaN
    }


def explain_losses(figures: dict[str, Any]) -> str:
    """Say how the losses of a rung differ from the baseline's, "" if they are within the bound."""
    if figures["loss_ok"]:
        return ""
    first, later = figures["loss_bounds"]
    return (
        f"losses: expected at most {first:g} from the baseline's, then {later:g}, found "
        f"{figures['first_loss_difference']:g} and {figures['loss_difference']:g}"
    )


def _summarize(spent: Sequence[Spent]) -> dict[str, Any]:
    """Summarise the times of the last work, and those of the first over it."""
    wall = spent[-1].wall
    ratios = [first / last for first, last in zip(spent[0].wall, wall, strict=True)]
    return {
        "ms": statistics.median(wall),
        "ms_min": min(wall),
        "ms_max": max(wall),
        "repeats": len(wall),
        "on_cpu_ms": statistics.median(spent[-1].cpu),
        "over_eager": statistics.median(ratios),
        "over_eager_min": min(ratios),
        "over_eager_max": max(ratios),
    }
