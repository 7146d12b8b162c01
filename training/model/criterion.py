"""The loss that a run minimises, and the protocol that judges it while it trains, by its hyper-parameters."""

import math
from functools import partial

from training.depth_options import TrainedKind
from training.losses.gradient_term import with_gradient
from training.losses.pixel_losses import LOSSES, Loss, mse
from training.metrics.protocols import PROTOCOLS, UP_TO_SCALE, Protocol
from training.model.hyperparameters import Hyperparameters


def make_loss(options: Hyperparameters) -> Loss:
    """Build the loss of that name, plus `gradient_weight` times the gradient term.

    mse is divided by the square of the depth that `log_depth_mean` is the logarithm of: the training set's typical one.
    """
    loss = LOSSES[options.loss]
    if options.loss == "mse":
        loss = partial(mse, typical_m=math.exp(options.log_depth_mean))
    return partial(with_gradient, loss, options.gradient_weight) if options.gradient_weight else loss


def make_protocol(depth_kind: TrainedKind) -> Protocol:
    """Return the protocol of validation: the headline; of depth up to scale, the median-scaled one without a range.

    A range of metres would choose pixels by a unit that means nothing.
    """
    return PROTOCOLS["headline"] if depth_kind == "metric" else UP_TO_SCALE
