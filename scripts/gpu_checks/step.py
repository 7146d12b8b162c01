"""The time of a step, from float32 as the tutorial runs it to bfloat16, channels last and a fused optimizer."""

from collections.abc import Iterator
from functools import cache, partial

import torch

from gpu_checks.bench import Bench
from gpu_checks.check import Check, unable
from gpu_checks.stepping import Step, Variant, matmul_flops, time_ms
from training.model.float32 import tf32

LIMIT_S = 40
VARIANTS = {
    "float32": Variant(),
    "tf32": Variant(tf32=True),
    "bf16": Variant(tf32=True, bf16=True),
    "channels_last": Variant(tf32=True, bf16=True, channels_last=True),
    "fused_adamw": Variant(tf32=True, bf16=True, channels_last=True, fused=True),
}
"""Each adds one thing to the one before."""


def measure_matmul(bench: Bench) -> Iterator[Check]:
    """Measure the matrix throughput that the card reaches in each format."""
    formats = ("float32", "tf32", "bf16") if bench.on_gpu else ("float32",)
    figures: dict[str, float | None] = {"tf32_flops": None, "bf16_flops": None}
    yield Check(name="matmul", ok=True, figures=figures | {f"{one}_flops": _peak_flops(bench, one) for one in formats})


@cache
def _count_flop(bench: Bench) -> int:
    """Count those of a step, whatever its variant, on the fastest that the device has."""
    sizes = bench.sizes
    with tf32(True):
        step = Step(bench, Variant(bf16=bench.on_gpu), sizes.step_height, sizes.step_width, sizes.step_batch)
        return step.count_flop()


@cache
def _peak_flops(bench: Bench, number_format: str) -> float:
    side = 8192 if bench.on_gpu else 512
    with tf32(number_format != "float32"):
        dtype = torch.bfloat16 if number_format == "bf16" else torch.float32
        return matmul_flops(bench.device, dtype, side, 5)


def time_variant(name: str, bench: Bench) -> Iterator[Check]:
    """Time a step of a variant, and set its throughput against that of matrix products."""
    variant, sizes = VARIANTS[name], bench.sizes
    if variant.tf32 and not bench.on_gpu:
        yield unable(name, "TF32 and 16-bit are timed on a GPU")
        return
    flop = _count_flop(bench)
    with tf32(variant.tf32):
        step = Step(bench, variant, sizes.step_height, sizes.step_width, sizes.step_batch)
        spent = time_ms(step, bench.device, sizes.repeats)
    ceiling = _peak_flops(bench, "bf16" if variant.bf16 else "tf32" if variant.tf32 else "float32")
    figures = {
        "images_per_s": 1000 * sizes.step_batch / spent["ms"],
        "flop": flop,
        "share_of_matmul": flop / (spent["ms"] / 1000) / ceiling,
    }
    yield Check(name=name, ok=True, figures=spent | figures)
    del step
    if bench.on_gpu:
        torch.cuda.empty_cache()


STAGES = ((("matmul",), measure_matmul), *(((name,), partial(time_variant, name)) for name in VARIANTS))
