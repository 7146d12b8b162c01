"""The options that decide what a run learns, in a form in which runs can be compared.

Left out are seed and folder, where the run is computed and watched, what changes little but rounding, and the
micro-batch, of whose difference a comparison warns. Sets count by identity, wherever they lie, and an encoder by the
options of its pretraining.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from training.config import FinetuneConfig
from training.depth_options import AugmentOptions
from training.depth_sets.holdout import meaning_of_wish
from training.depth_sets.views import make_augment
from training.lightning.names import LEARNS
from training.report.arms.run import Run
from training.report.arms.sets import judged_on
from training.runfolder import WHERE_IT_RUNS
from training.step_options import ComputationOptions

NO_FACTOR = (
    *(*WHERE_IT_RUNS, "seed", "deterministic", "micro_batch", "allow_overlap", "camera_focal_px"),
    *(one.name for one in dataclasses.fields(ComputationOptions)),
)
"""Options that two runs of one arm may differ in."""

CROP = ("height", "width")
"""Options that are one factor: the size of the training crop."""


def deciding(run: Run) -> dict[str, Any]:
    """Return factor -> value of everything that decides what a run learns, but its seed."""
    found = {name: value for name, value in run.config.items() if name not in (*NO_FACTOR, *CROP)}
    found["crop"] = " x ".join(str(run.config[name]) for name in CROP)
    if (wish := run.config["holdout_scenes"]) is not None:
        found["holdout_scenes"] = meaning_of_wish(wish)
    found["loss"] = run.loss
    found["lightning"] = {name: value for name, value in (run.config["lightning"] or {}).items() if name in LEARNS}
    found |= _views(run)
    found["set"] = run.facts.train.identity
    found["val"], found["val_where"] = judged_on(run).key if is_validated(run) else (None, None)
    found["encoder"] = run.encoder.key
    return found


def is_validated(run: Run) -> bool:
    """Tell whether a run opened the set of --val while it trained; one that it never opened taught it nothing."""
    return run.config["val"] is not None and run.facts.val_set is None


def _views(run: Run) -> dict[str, str | float]:
    """Return the options of the augmentation, with their defaults in place of None."""
    options = {one.name: run.config[one.name] for one in dataclasses.fields(AugmentOptions)}
    augment = make_augment(FinetuneConfig(set="", out="", **options))
    return {
        "rotation": augment.max_rotation_deg,
        "flip": augment.flip_prob,
        "zoom": _listed(augment.zoom),
        "jitter": _listed((augment.brightness, augment.contrast, augment.saturation)),
    }


def _listed(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def frozen(value: Any) -> str:
    """Return text that is the same for equal options, whatever the order of their names."""
    return json.dumps(value, sort_keys=True, default=str)
