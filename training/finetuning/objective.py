"""What a run minimises, by what the depth of its training set means; without torch."""

from sharding.errors import UsageError
from sharding.progress import say
from training.depth_options import LossName, TrainedKind

SCALE_INVARIANT: tuple[LossName, ...] = ("si_log",)
"""Losses that a wrong scale of an image costs nothing."""


def choose_loss(loss: LossName | None, depth_kind: TrainedKind) -> LossName:
    """Return the loss of a run: that of --loss, or the default for the depth of the training set.

    Args:
        loss: Value of --loss.
        depth_kind: Of the training set.

    Raises:
        UsageError: The loss compares metres, and there are none.
    """
    if depth_kind == "metric":
        return loss or "silog"
    if loss is not None and loss not in SCALE_INVARIANT:
        raise UsageError(
            f"--loss {loss}: it compares distances, and the depth of the training set is up to scale: the unit of each "
            "scene is unknown; give --loss si_log, or leave --loss out"
        )
    return SCALE_INVARIANT[0]


def announce_scale(loss: LossName, depth_kind: TrainedKind) -> None:
    """Say what a run does not learn, if it learns no scale."""
    if depth_kind == "up_to_scale":
        say(
            f"depth is up to scale: the loss is {loss}, which ignores scale, and validation multiplies each prediction "
            "by median(truth) / median(prediction) first; nothing is in metres"
        )
    elif loss in SCALE_INVARIANT:
        say(
            f"warning: --loss {loss} ignores scale, so the network does not learn metres, though the set has them; "
            "--loss silog does"
        )
