"""Options about depth: what `finetune` learns from and minimises, and how `evaluate` judges it."""

from dataclasses import dataclass
from typing import Literal, get_args

from sharding.options import option
from training.set_options import WHERE

LossName = Literal["silog", "si_log", "l1_log", "mse_log", "berhu_log", "mse"]
TrainedKind = Literal["metric", "up_to_scale"]
"""Depth that a network is trained on, and so predicts: metres, or metres times an unknown factor of each scene."""

TRAINED_KINDS: tuple[TrainedKind, ...] = get_args(TrainedKind)

ProtocolChoice = Literal["ours", "devkit", "zoe80garg"]
"""Values of `evaluate --protocol`; `training.metrics.protocols` has the protocols of each."""

MIN_SIDE_PX = 33
"""Smaller training images leave the encoder a single output pixel, of which BatchNorm cannot compute a variance."""


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Options that tell what a run is trained on, and what it is validated on while it trains."""

    val: str | None = option(
        None,
        "folder or URL of the validation set; it may be left out with --holdout-scenes, and is then not touched",
        metavar="SET",
        path="any",
    )
    where: str | None = option(None, WHERE + ", for the training set", metavar="EXPR")
    val_where: str | None = option(
        None,
        "the same for the validation set (default: that of --where; '' for all samples)",
        metavar="EXPR",
        empty=True,
    )
    holdout_scenes: str | None = option(
        None,
        "scenes that are taken out of the training set and validated on: a number of them, drawn by --seed, or their "
        "names with commas, such as 00007,00012",
        metavar="N|NAME,NAME",
    )
    allow_overlap: bool = option(False, "accept scenes and samples that are in the training and the validation set")


def choose_val_where(where: str | None, val_where: str | None) -> str | None:
    """Return the condition on the validation set; None means all samples.

    Args:
        where: Value of --where, which is the default.
        val_where: Value of --val-where; blank for all samples.
    """
    if val_where is None:
        return where
    return val_where if val_where.strip() else None


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Options of the views that a network is trained on."""

    height: int = option(768, "height of the training crop in pixels", metavar="PX", least=MIN_SIDE_PX)
    width: int = option(768, "width of the training crop in pixels", metavar="PX", least=MIN_SIDE_PX)
    scale: float = option(
        1.0,
        "resolution that the network works at, relative to the images: 0.5 halves both sides before anything is cut or "
        "predicted; ground truth is never resized",
        metavar="S",
        above=0,
        most=1,
    )
    augment: Literal["ours", "tutorial"] = option(
        "ours",
        "ours: rotation, zoom that the depth follows, flip, colour; tutorial: its rotation, random resized crop (0.2 "
        "to 0.9 of the area, depth not rescaled) and flip",
    )
    rotation: float | None = option(
        None, "largest rotation in degrees, to either side (default: 15)", metavar="DEG", least=0, most=180
    )
    zoom: str | None = option(
        None,
        "least and largest zoom (default: 1,1.5)",
        metavar="LOW,HIGH",
    )
    flip: float | None = option(None, "probability of a left-right flip (default: 0.5)", metavar="P", least=0, most=1)
    jitter: str | None = option(
        None,
        "largest change of brightness, contrast and saturation, each from 0 to below 1 (default: 0.2,0.2,0.2; 0 with "
        "--augment tutorial)",
        metavar="B,C,S",
    )


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Options of what a run minimises."""

    loss: LossName | None = option(
        None,
        "loss over valid pixels (default: silog; si_log, the scale-invariant one, for depth up to scale). mse: of "
        "metres, divided by the set's typical depth; the others are of log depth",
    )
    gradient_weight: float = option(
        0.0, "weight of the error of log depth's gradient, added to the loss", metavar="X", least=0, most=10**6
    )
