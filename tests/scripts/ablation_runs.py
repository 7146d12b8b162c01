"""Results of runs that were never trained, in the form of `ablations.py`."""

from learning_bench.arms import ARMS
from learning_bench.summary import SHOWN


def make_run(key, value=1.0, *, seconds=10.0, images=1600, threads=1):
    """A run "ARM-SEED" of that recipe, all of whose metrics are `value`."""
    arm, _, seed = key.rpartition("-")
    return {
        "recipe": ARMS[arm].describe(seed=int(seed), images=images, threads=threads),
        "metrics": dict.fromkeys(SHOWN, value),
        "edge_cleaned": dict.fromkeys(SHOWN, value),
        "images": 280,
        "seconds": seconds,
        "epochs": 2,
        "revision": "a" * 40,
    }
