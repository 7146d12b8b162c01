"""Which protocols a set, and a network, can be judged under; what cannot be is refused before anything is computed."""

from collections.abc import Sequence

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.depth_options import ProtocolChoice, TrainedKind
from training.metrics.kinds import depth_kind
from training.metrics.protocols import CHOICES, MEDIAN_SCALED, UP_TO_SCALE, Protocols

_WHOLE_EXTS = ("planes.npy", "npy")
"""Extensions of depth parts that can hold depth under the mask; the others have a code for invalid instead."""


def choose_protocols(samples: ShardSet, choice: ProtocolChoice, predicted: TrainedKind = "metric") -> Protocols:
    """Choose the protocols of an evaluation.

    Depth up to scale, of the set or of the network, is judged by median-scaled metrics alone.

    Args:
        samples: The set, or subset.
        choice: As `--protocol` gives it.
        predicted: What the depth of the network means.

    Raises:
        UsageError: The set has no depth, or depth of several kinds, or what cannot be judged by the choice.
    """
    truth = depth_kind(samples)
    if choice == "ours":
        if truth == "up_to_scale":
            return {UP_TO_SCALE.name: UP_TO_SCALE}
        return CHOICES[choice] if predicted == "metric" else {MEDIAN_SCALED.name: MEDIAN_SCALED}
    for whose, scale in ((f"the depth of {samples.url}", truth), ("the depth that the run predicts", predicted)):
        if scale != "metric":
            raise UsageError(
                f"--protocol {choice} compares metres, but {whose} is up to scale; leave the option out, and "
                "median-scaled metrics are computed"
            )
    if not all(protocol.masked for protocol in CHOICES[choice].values()):
        _check_under_mask(samples, choice)
    return CHOICES[choice]


def _check_under_mask(samples: ShardSet, choice: str) -> None:
    """Check that a set has kept the depth under its mask, as its source has it.

    Raises:
        UsageError: It has not, or nothing tells that it has.
    """
    if lost := _loss(samples):
        raise UsageError(
            f"--protocol {choice} counts every pixel whose depth is above 0, whatever the mask says, but {samples.url} "
            f"{lost}; shard DIODE again, at its own size, with --preset exact"
        )


def _loss(samples: ShardSet) -> str:
    """Tell how a set has lost the depth under its mask; "" if it has kept it."""
    made, dataset = samples.manifest.made, samples.manifest.dataset
    if dataset != "diode" or made.get("preset") not in ("exact", "compact"):
        return f"is not known to have it under the mask: it was not made by `depthstream shard diode` ({dataset})"
    if made["preset"] == "compact":
        return "was made with --preset compact, which stores 0 under the mask"
    if others := sorted(set(samples.rows["depth_ext"]) - {*_WHOLE_EXTS, ""}):
        return f"has depth as {', '.join(others)}, which stores none under the mask"
    if _shrunk(samples.rows[["height", "width"]].max(axis=1).to_list(), made.get("max_side")):
        return f"was made with --max-side {made['max_side']}, and has but some pixels of its source"
    return ""


def _shrunk(sides: Sequence[int], max_side: int | None) -> bool:
    # A larger image has exactly that longer side now; so may one that was not larger, which cannot be told.
    return max_side is not None and max(sides) >= max_side
