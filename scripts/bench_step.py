"""Measure a training step of the depth U-Net, from fastai's as torch ships to what is fastest, each measure in turn.

All start from the same weights and take the same batch, which is on the device. Each way takes a few steps, whose
losses must be those of the baseline, then steps in turn with the baseline: a ratio is that of two steps side by side.
The baseline computes as torch does by default: on a GPU convolutions in TF32 and matrix products in float32; the other
two are `eager_tf32` and `eager_float32`. `feed` sets training from a generated set against training on one batch.

Steps are DepthUnet's own, with clipping and its optimizer, without Lightning's Trainer around them.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError
from sharding.machine.files import write_atomically
from sharding.options import option
from sharding.progress import say

if TYPE_CHECKING:
    import torch
    from step_bench.step import StepSize

Name = Literal[
    "eager", "forward", "channels_last", "fused", "bf16", "checkpoint", "eager_tf32", "eager_float32", "compile", "feed"
]

FEED = "feed"

SIZES = {"cuda": ("resnet50", 768, 768, 4), "cpu": ("resnet18", 192, 256, 2), "tiny": ("resnet18", 64, 96, 2)}
"""Encoder, height, width and batch by default: on a GPU, on a CPU, and with --tiny."""

BOUNDS = {"step_over_eager": 3.0, "share_of_matmul_peak": 0.5, "feed_over_constant": 0.97}
"""The least that each figure should be on a GPU."""

SAMPLES = 16
"""Of the generated set."""

PACKAGES = ("torch", "torchvision", "fastai", "pytorch-lightning", "numpy")


@dataclass(frozen=True, kw_only=True)
class BenchStepConfig:
    """Options of the measurement."""

    device: Literal["cuda", "cpu"] = option("cuda", "where steps are taken")
    encoder: Literal["resnet18", "resnet34", "resnet50", "resnet101"] | None = option(
        None, "torchvision's ResNet (default: resnet50; on a CPU resnet18)"
    )
    height: int | None = option(
        None, "height of the images in pixels (default: 768; on a CPU 192)", metavar="PX", least=33
    )
    width: int | None = option(
        None, "width of the images in pixels (default: 768; on a CPU 256)", metavar="PX", least=33
    )
    batch: int | None = option(None, "images of a step (default: 4; on a CPU 2)", metavar="N", least=1)
    repeats: int = option(5, "steps of each way that are timed, after 4 to warm up", metavar="N", least=1)
    workers: int | None = option(
        None, "loader processes of `feed` (default: 8; on a CPU 1)", metavar="N", least=0, most=256
    )
    tiny: bool = option(False, "small network and images, to try the program itself")
    profile: bool = option(False, "add what the time of each way goes to, by operation")
    only: tuple[Name, ...] = option((), "ways to measure, beside the baseline", metavar="NAME", shown="all")
    out: str | None = option(None, "file for the JSON too, written after each way", metavar="FILE", path="local")


def run(config: BenchStepConfig) -> Outcome:
    """Measure all that was asked for.

    Raises:
        UsageError: There is no GPU.
    """
    import torch  # seconds, and more for what follows

    on_gpu = config.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU; give --device cpu")
    from step_bench.step import count_flop, make_network

    from training.network.unet import count_parameters

    size = choose_size(config)
    data: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "device": config.device,
        "size": asdict(size),
        "parameters": count_parameters(make_network(size.encoder)),
        "step_flop": count_flop(size),
        "rungs": {},
        "feed": None,
        **describe_machine(PACKAGES),
    }
    for _ in measure(config, size, data):
        data |= conclude(data, BOUNDS if on_gpu else {})
        if config.out is not None:
            write_atomically(Path(config.out), (json.dumps(_finite(data), indent=1) + "\n").encode())
    wrong = [name for name, row in data["rungs"].items() if row and not row["loss_ok"]]
    return Outcome(data=data, text=make_table(data), ok=not wrong)


def _finite(data: dict[str, Any]) -> Any:
    """Replace numbers that JSON has no word for by null, as `--json` does."""
    return json.loads(json.dumps(data), parse_constant=lambda _: None)


def choose_size(config: BenchStepConfig) -> "StepSize":
    """Return what a step computes: the options, where they are given."""
    from step_bench.step import StepSize

    encoder, height, width, batch = SIZES["tiny" if config.tiny else config.device]
    return StepSize(
        encoder=config.encoder or encoder,
        height=config.height or height,
        width=config.width or width,
        batch=config.batch or batch,
    )


def measure(config: BenchStepConfig, size: "StepSize", data: dict[str, Any]) -> Iterator[str]:
    """Measure each way that was asked for, and the baseline; yield its name when `data` has its figures."""
    import torch
    from step_bench.ladder import BASELINE, GPU_ONLY, LADDER
    from step_bench.measure import Ladder

    device = torch.device(config.device)
    ladder = Ladder(size, device, config.repeats)
    for name in LADDER:
        if config.only and name not in (BASELINE, *config.only):
            continue
        say(f"{name}: {LADDER[name].adds}")
        lacking = name in GPU_ONLY and config.device == "cpu"  # a CPU has no TF32
        data["rungs"][name] = None if lacking else ladder.measure(name, config.profile)
        data["matmul_flops"] = ladder.peaks
        yield name
    if FEED in (config.only or (FEED,)):
        say("feed: from a set")
        ladder.close()
        data["feed"] = measure_feed(config, size, device)
        yield FEED


def measure_feed(config: BenchStepConfig, size: "StepSize", device: "torch.device") -> dict[str, Any]:
    """Compare a generated set with constant tensors, by the step of `FED`."""
    from step_bench.feeding import compare_rates
    from step_bench.ladder import FED, LADDER
    from step_bench.step import Step
    from store_bench.views import make_set

    workers = (8 if config.device == "cuda" else 1) if config.workers is None else config.workers
    with tempfile.TemporaryDirectory(prefix="bench-step-") as folder:
        source = Path(folder) / "set"
        make_set(source, SAMPLES, size.height * 5 // 4, size.width * 5 // 4, "zstd")
        name = FED[config.device]
        step = Step(size, LADDER[name], device)
        return {"step": name} | compare_rates(step, size, source, workers, 3)


def conclude(data: dict[str, Any], bounds: dict[str, float]) -> dict[str, Any]:
    """Return the figures of the fastest way, and the names of those that miss a bound or whose losses differ."""
    rows = {name: row for name, row in data["rungs"].items() if row}
    fastest = max(rows, key=lambda name: rows[name]["over_eager"])
    figures = {
        "step_over_eager": rows[fastest]["over_eager"],
        "share_of_matmul_peak": rows[fastest]["share_of_matmul_peak"],
        "feed_over_constant": data["feed"] and data["feed"]["feed_over_constant"],
    }
    late = [name for name, least in bounds.items() if figures[name] is not None and figures[name] < least]
    differing = [f"{name}.losses" for name, row in rows.items() if not row["loss_ok"]]
    return {"fastest": fastest, **figures, "missed": late + differing}


def make_table(data: dict[str, Any]) -> str:
    """Format the figures, a line for each way."""
    size = data["size"]
    lines = [
        f"{data['gpu'] or data['cpu']}; {size['encoder']} U-Net, {size['batch']} images of {size['height']} x "
        f"{size['width']} px, {data['parameters'] / 1e6:.1f} M parameters, {data['step_flop'] / 1e9:,.0f} GFLOP a step",
        f"{'':14}{'adds to':14}{'ms (min - max)':>28}{'on CPU ms':>11}{'over eager (min - max)':>24}{'of matmul':>11}"
        f"{'peak GB':>9}{'loss differs':>14}",
    ]
    for name, row in data["rungs"].items():
        lines.append(f"{name:14}null: a CPU has no TF32" if row is None else _line(name, row))
        lines += [
            f"  {part['share']:6.1%} {part['ms']:10.2f} ms {part['calls']:6.0f} x {part['name']}"
            for part in (row and row["profile"]) or ()
        ]
    if feed := data["feed"]:
        lines.append(
            f"feed: {feed['feed_over_constant']:.3f} ({feed['feed_over_constant_min']:.3f} - "
            f"{feed['feed_over_constant_max']:.3f}) of training from constant tensors, {feed['workers']} workers"
        )
    missed = f"; missed: {', '.join(data['missed'])}" if data["missed"] else ""
    return "\n".join([*lines, f"fastest: {data['fastest']}{missed}"])


def _line(name: str, row: dict[str, Any]) -> str:
    times = f"{row['ms']:.1f} ({row['ms_min']:.1f} - {row['ms_max']:.1f})"
    ratio = f"{row['over_eager']:.2f} ({row['over_eager_min']:.2f} - {row['over_eager_max']:.2f})"
    peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f}"
    difference = f"{row['loss_difference']:.1e}{'' if row['loss_ok'] else ' !'}"
    share = f"{row['share_of_matmul_peak']:.2f}"
    return (
        f"{name:14}{row['to'] or '-':14}{times:>28}{row['on_cpu_ms']:11.1f}{ratio:>24}{share:>11}{peak:>9}"
        f"{difference:>14}"
    )


COMMAND = Command(
    name="scripts/bench_step.py",
    config=BenchStepConfig,
    runner=f"{__name__}:run",
    help="measure a training step of the depth U-Net, each measure added in turn, against fastai's as torch ships",
    examples=(
        "scripts/bench_step.py --json > step.json",
        "scripts/bench_step.py --only bf16 compile feed --out step.json",
        "scripts/bench_step.py --only compile --profile",
        "scripts/bench_step.py --device cpu --json",
        "scripts/bench_step.py --device cpu --tiny --only forward bf16",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
