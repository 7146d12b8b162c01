"""Check and measure everything that needs a GPU, in one run of a few minutes.

    python scripts/on_gpu.py [--only PART ...] [--out DIR] [--minutes N] [--device cuda|cpu] [--tiny] [--json]

Needs no network and no data: it generates its own. DIR/results.json has each result as soon as it is known, so a run
that is cut off keeps what it has; a part that fails says why, and the next one runs. `gpu_checks` lists the parts.
What the device cannot do is null, with the reason.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from machine import describe_machine

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError
from sharding.options import option
from sharding.progress import say

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "lightly-train", "fastai", "numpy")


@dataclass(frozen=True, kw_only=True)
class OnGpuConfig:
    """Options of `scripts/on_gpu.py`."""

    only: tuple[str, ...] = option(
        (), "parts to run; PART.CHECK ends a part with that check", metavar="PART", shown="all"
    )
    out: str = option("on-gpu", "folder for results.json and logs.txt", metavar="DIR")
    minutes: float = option(9.0, "time for all parts; what does not fit is left out", metavar="N")
    device: Literal["cuda", "cpu"] = option("cuda", "what to check")
    tiny: bool = option(False, "small networks and images, to try the program itself")


def run(config: OnGpuConfig) -> Outcome:
    """Run the parts.

    Raises:
        UsageError: There is no such part, or no GPU.
    """
    begin = time.monotonic()
    gpus = _find_gpus() if config.device == "cuda" else []
    from gpu_checks.bench import FULL, TINY, Bench  # torch and the training libraries: seconds
    from gpu_checks.runner import Results, choose_parts, run_parts

    parts, out = choose_parts(config.only), Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    about = {"device": config.device, "gpus": gpus, "tiny": config.tiny, "machine": describe_machine(PACKAGES)}
    results = Results(out / "results.json", about)
    # Many GB of runs: not in the folder of the results, which may be carried elsewhere.
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as work:
        bench = Bench(
            accelerator=config.device,
            sizes=TINY if config.tiny else FULL,
            folder=Path(work),
            workers=min(8, len(os.sched_getaffinity(0)) // 2) if gpus else 0,
            cards=len(gpus),
        )
        bench.make_data()
        say(f"data: {time.monotonic() - begin:.1f} s, with the imports")
        for _ in run_parts(bench, parts, results, config.minutes - (time.monotonic() - begin) / 60):
            _keep_logs(Path(work), out / "logs.txt")
    ok = all(check["ok"] is not False for part in results.data["parts"].values() for check in part["checks"].values())
    return Outcome(data=results.data, text=make_table(results.data), ok=ok)


def _find_gpus() -> list[str]:
    """Return name, memory and driver of each GPU.

    nvidia-smi is asked, not torch: the parts have processes of their own, which need a parent without CUDA.

    Raises:
        UsageError: There is none.
    """
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"--device cuda: nvidia-smi finds no GPU ({error}); give --device cpu") from error


def _keep_logs(work: Path, file: Path) -> None:
    """Move what the runs of a part wrote to the end of one file."""
    with file.open("a") as kept:
        for log in sorted(work.glob("*.log")):
            kept.write(f"== {log.name}\n{log.read_text(errors='replace')}\n")
            log.unlink()


def make_table(data: dict[str, Any]) -> str:
    """Format the results, a line a check."""
    lines = [f"{'; '.join(data['gpus']) or data['machine']['cpu']}, {data['machine']['date']}"]
    for name, part in data["parts"].items():
        lines.append(f"{name}: {part['seconds']} s{', ' + part['failed'] if part['failed'] else ''}")
        for check, found in part["checks"].items():
            word = {True: "ok", False: "FAILED", None: "-"}[found["ok"]]
            figures = ", ".join(f"{key} {_short(value)}" for key, value in found["figures"].items() if _is_plain(value))
            lines.append(f"  {check:<24}{word:<8}{'; '.join(filter(None, (found['why'], figures)))}")
    return "\n".join(lines)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


COMMAND = Command(
    name="scripts/on_gpu.py",
    config=OnGpuConfig,
    runner=f"{__name__}:run",
    help="check and measure everything that needs a GPU; generates its data, needs no network",
    examples=(
        "scripts/on_gpu.py --out on-gpu --json > on-gpu.json",
        "scripts/on_gpu.py --only step feed.stall_seen --minutes 3",
        "scripts/on_gpu.py --device cpu --tiny",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
