"""Whole comparisons of run folders whose networks predict one depth everywhere, with values worked out by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.config import CompareConfig
from training.report.compare import run

ROWS = np.repeat(np.array([[32.0], [8.0], [4.0], [2.0]]), 5, axis=1)
ONES = np.ones((4, 5))
TRUTH = {"00007": ROWS * 1.25, "00008": ROWS}
"""Depth of each validation scene, one image each: by row 32, 8, 4, 2 m, and a quarter deeper in one of them."""


def config_of(out: Path, *runs: Path, **options) -> CompareConfig:
    return CompareConfig(runs=tuple(map(str, runs)), out=str(out), num_workers=0, accelerator="cpu", **options)


def compare(out: Path, *runs: Path, **options) -> dict:
    return json.loads(json.dumps(run(config_of(out, *runs, **options)).data))


def log10_of(depth_m: float) -> dict[str, float]:
    """log10 of a constant by validation scene."""
    return {scene: float(np.mean(np.abs(np.log10(depth_m / truth)))) for scene, truth in TRUTH.items()}


def logs_of(depths: Sequence[float]) -> np.ndarray:
    return np.log([list(log10_of(depth).values()) for depth in depths])


NEAR, FAR = (3.4, 3.6, 3.8), (20.0, 22.0, 24.0)
"""Depths that the runs of two arms predict."""
