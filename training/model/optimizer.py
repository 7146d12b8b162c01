"""AdamW of a depth network: encoder and decoder at their own rates, weight decay where it belongs; a frozen encoder."""

from typing import Any

from torch import nn
from torch.optim import AdamW

from training.model.hyperparameters import Hyperparameters
from training.network.unet import DepthNetwork, split_parameters


def make_optimizer(unet: nn.Module, options: Hyperparameters, *, fused: bool) -> AdamW:
    """Make the optimizer of a network; the decoder's group is the last.

    Args:
        unet: The network.
        options: Learning rates and weight decay.
        fused: Whether all weights are updated in one kernel.
    """
    encoder, rest = split_parameters(unet)
    groups = [
        *_groups(encoder, options.learning_rate * options.encoder_lr_factor, options),
        *_groups(rest, options.learning_rate, options),
    ]
    return AdamW(groups, fused=fused or None)  # None: torch's own choice


def _groups(parameters: list[nn.Parameter], rate: float, options: Hyperparameters) -> list[dict[str, Any]]:
    """Make the groups of some parameters: those with weight decay, and biases and BatchNorm without."""
    decayed = [parameter for parameter in parameters if options.decay == "all" or parameter.ndim > 1]
    known = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in parameters if id(parameter) not in known]
    groups = [{"params": decayed, "lr": rate, "weight_decay": options.weight_decay}]
    return groups if options.decay == "all" else [*groups, {"params": rest, "lr": rate, "weight_decay": 0.0}]


class FrozenEncoder:
    """An encoder that stays as it is in the first epochs of a run.

    Its gradients are computed and discarded: that is 1 to 5 % of the operations of a step, and
    DistributedDataParallel, which must know at its start which parameters have gradients, does not have to start again.

    Args:
        unet: The network; one not made by `build_unet` has no encoder.
        epochs: Epochs in which it is frozen.
    """

    def __init__(self, unet: nn.Module, epochs: int) -> None:
        self._unet, self._epochs = unet, epochs

    def start_epoch(self, epoch: int) -> None:
        """Let BatchNorm keep its running statistics, and normalise by them, while the encoder is frozen."""
        if self._epochs and isinstance(self._unet, DepthNetwork):
            self._unet.layers[0].train(epoch >= self._epochs)

    def drop_gradients(self, epoch: int) -> None:
        """Discard the encoder's gradients while it is frozen: the optimizer passes over it, weight decay included."""
        if epoch < self._epochs:
            for parameter in split_parameters(self._unet)[0]:
                parameter.grad = None
