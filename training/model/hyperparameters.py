"""What defines a DepthUnet besides its weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from sharding.errors import UsageError
from training.depth_options import TRAINED_KINDS, TrainedKind
from training.losses.pixel_losses import LOSSES
from training.model.schedule import SCHEDULES
from training.network.encoder_name import ENCODERS
from training.prediction.camera import Camera

Decay = Literal["weights", "all"]
DECAYS: tuple[Decay, ...] = get_args(Decay)
"""What weight decay is for."""

_NOT_NEGATIVE = (
    *("gradient_weight", "encoder_lr_factor", "weight_decay"),
    *("freeze_epochs", "warmup_steps", "total_steps"),
)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything that defines a DepthUnet besides its weights: numbers and strings, stored in its checkpoints.

    Attributes:
        encoder_name: torchvision ResNet that the network was built on.
        height: Height of the training images, pixels (the network accepts any size).
        width: Width of the training images, pixels.
        scale: Resolution that the network works at, by that of the images it is given: above 0, at most 1.
        loss: Name in `LOSSES`.
        gradient_weight: Multiple of the gradient term that is added to the loss, see `training.losses.gradient_term`.
        learning_rate: Peak learning rate.
        encoder_lr_factor: Multiple of the learning rate that the encoder is trained with.
        weight_decay: Decoupled weight decay of AdamW.
        decay: What weight decay is for: "weights" of convolutions, or "all" parameters, as before version 0.2.
        freeze_epochs: Epochs at the start in which the encoder, BatchNorm statistics included, stays as it is.
        schedule: Name in `SCHEDULES`.
        warmup_steps: Optimizer steps until the rate is at its peak.
        total_steps: Optimizer steps until the rate has fallen to 0; 0 keeps it at its peak (cosine alone).
        log_depth_mean: Natural log of metres; added to the output of the network.
        depth_kind: What the training set's depth is, and so what is predicted: "metric" or "up_to_scale".
        camera_focal_px: Focal length of the training set's images at their own size, pixels; 0: unknown.
        camera_height: Height of the training set's images, pixels; 0: unknown, or they differ.
        camera_width: Width of the training set's images, pixels; 0: unknown, or they differ.

    Raises:
        UsageError: The encoder, the loss, the schedule or the kind of depth is unknown, the learning rate is not
            positive, the scale is not from above 0 to 1, or a length is negative.
    """

    encoder_name: str = "resnet50"
    height: int = 768
    width: int = 768
    scale: float = 1.0
    loss: str = "silog"
    gradient_weight: float = 0.0
    learning_rate: float = 1e-4
    encoder_lr_factor: float = 1.0
    weight_decay: float = 1e-2
    decay: Decay = "weights"
    freeze_epochs: int = 0
    schedule: str = "cosine"
    warmup_steps: int = 0
    total_steps: int = 0
    log_depth_mean: float = math.log(8.0)
    depth_kind: TrainedKind = "metric"
    camera_focal_px: float = 0.0
    camera_height: int = 0
    camera_width: int = 0

    def __post_init__(self) -> None:
        if self.encoder_name not in ENCODERS:
            raise UsageError(f"no encoder {self.encoder_name!r}; there are {', '.join(ENCODERS)}")
        if self.loss not in LOSSES:
            raise UsageError(f"no loss {self.loss!r}; there are {', '.join(LOSSES)}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"no schedule {self.schedule!r}; there are {', '.join(SCHEDULES)}")
        if self.decay not in DECAYS:
            raise UsageError(f"no decay of {self.decay!r}; there are {', '.join(DECAYS)}")
        if self.depth_kind not in TRAINED_KINDS:
            raise UsageError(f"no network for depth of kind {self.depth_kind!r}; there are {', '.join(TRAINED_KINDS)}")
        if not (isinstance(self.scale, int | float) and 0 < self.scale <= 1):
            raise UsageError(f"scale: expected a number above 0 and at most 1, found {self.scale!r}")
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, was {self.learning_rate}")
        numbers = {name: value for name, value in asdict(self).items() if isinstance(value, float)}
        if wrong := [name for name, value in numbers.items() if not math.isfinite(value)]:
            raise UsageError(f"expected finite hyper-parameters, found {', '.join(wrong)} that is not")
        for name in _NOT_NEGATIVE:
            if not (isinstance(value := getattr(self, name), int | float) and value >= 0):
                raise UsageError(f"{name}: expected a number, 0 or more, found {value!r}")
        if min(self.camera_focal_px, self.camera_height, self.camera_width) < 0:
            raise UsageError(f"expected a training camera of lengths from 0, found {self.camera}")

    @property
    def camera(self) -> Camera:
        """Return the camera of the training images."""
        focal_px, metric = self.camera_focal_px, self.depth_kind == "metric"
        return Camera(focal_px=focal_px, height=self.camera_height, width=self.camera_width, metric=metric)


def as_hyperparameters(given: Hyperparameters | Mapping[str, Any] | None) -> Hyperparameters:
    """Return hyper-parameters as such.

    Raises:
        UsageError: A name is unknown, or a value is impossible.
    """
    if isinstance(given, Hyperparameters):
        return given
    known = {field.name for field in fields(Hyperparameters)}
    if unknown := sorted(set(given or {}) - known):
        raise UsageError(f"no hyper-parameters named {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return Hyperparameters(**(given or {}))
