"""What each method of LightlyTrain 0.18 needs: a table, since to ask it takes ten seconds; a test holds it to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.errors import UsageError, named_by_user
from training.config import PretrainConfig
from training.lightlytrain.models import canonical
from training.lightlytrain.weights import check_pretrained, find_pretrained
from training.torch_file import check_torch_file

_TRANSFORMERS = re.compile(r"dinov2/.+|dinov3/_?vit.+")
_TRANSFORMERS_TEXT = "LightlyTrain's own vision transformers (dinov2/vits14-notpretrained, dinov3/vits16, ...)"
_DINO = re.compile(r"(dinov2|dinov3)/.+")
_PATCHES = re.compile(r"dinov2/_?vit[a-z0-9]*?(?P<side>1[46])(?![0-9]).*")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method needs.

    Attributes:
        transformer: Whether it trains LightlyTrain's own vision transformers alone.
        images: Fewest images of a device's micro-batch.
        teacher: Model that teaches if none is named; None for a method without a teacher.
        dino_teacher: Whether the teacher must be one of `dinov2/` or `dinov3/`, whose own weights are loaded first.
    """

    transformer: bool = False
    images: int = 1
    teacher: str | None = None
    dino_teacher: bool = False


# A loss that tells images of a batch apart, or (DINOv2's KoLeo) keeps them apart, has nothing to do with one image.
METHODS: Mapping[str, Needs] = {
    "densecl": Needs(images=2),
    "dino": Needs(),
    "dinov2": Needs(transformer=True, images=2),
    "dinov31": Needs(transformer=True, images=2),
    "distillation": Needs(teacher="dinov3/vitb16"),
    "distillationv1": Needs(teacher="dinov2/vitb14-noreg", dino_teacher=True),
    "distillationv2": Needs(teacher="dinov2/vitb14-noreg", dino_teacher=True),
    "distillationv3": Needs(teacher="dinov3/vitb16"),
    "simclr": Needs(images=2),
}
"""By LightlyTrain's names; it does not list densecl, but has it."""


def check_method(config: PretrainConfig, world: int | None) -> None:
    """Check that method, model, teacher, batch and image size go together, and that their weights are here.

    Args:
        config: Options of the run.
        world: Number of processes, if it is known.

    Raises:
        UsageError: They do not, or a file is missing.
    """
    needs = METHODS[config.method]
    if needs.transformer and not _TRANSFORMERS.fullmatch(canonical(config.model)):
        raise UsageError(
            f"--method {config.method} masks patches and trains {_TRANSFORMERS_TEXT} alone, found --model "
            f"{config.model}: give one of those, or another --method such as dino"
        )
    check_images(config.method, config.batch_size // (world or 1) // config.gradient_accumulation_steps)
    check_pretrained(
        config.model, f"--model {config.model}", "name a model that starts from random weights, such as torchvision's"
    )
    _check_teacher(config, needs)
    _check_sides(config)


def check_images(method: str, images: int) -> None:
    """Check that a micro-batch is large enough for a method.

    Args:
        method: The method.
        images: Images that a device computes at once.

    Raises:
        UsageError: It is not.
    """
    least = METHODS[method].images
    if images < least:
        raise UsageError(
            f"--method {method} compares the images of a batch with each other: expected at least {least} for each "
            f"device at once, found {images}; give a larger --batch-size (it is divided among all devices)"
        )


def teacher_of(config: PretrainConfig) -> str | None:
    """Return the name of the model that teaches; None if the method has no teacher."""
    default = METHODS[config.method].teacher
    return config.teacher or default if default is not None else None


def teacher_args(config: PretrainConfig) -> dict[str, Any]:
    """Return the entries of LightlyTrain's `method_args` about the teacher that the options give."""
    given = {"teacher": config.teacher, "teacher_weights": config.teacher_weights}
    return {name: value for name, value in given.items() if value is not None}


def patch_px(model: str) -> int:
    """Return the number of pixels of which the sides of images must be a multiple: those of a patch, or 1."""
    found = _PATCHES.fullmatch(canonical(model))
    return int(found["side"]) if found else 1


def _check_sides(config: PretrainConfig) -> None:
    """Check that images can be cut into the patches of model and teacher."""
    for option, model in (("--model", config.model), ("--teacher", teacher_of(config))):
        patch = patch_px(model or "")
        if config.image_size % patch:
            raise UsageError(
                f"--image-size {config.image_size}: {option} {model} cuts images into patches of {patch} pixels; give "
                f"a multiple of that, such as {-(-config.image_size // patch) * patch}"
            )
        _check_local_views(config, option, patch)


def _check_local_views(config: PretrainConfig, option: str, patch: int) -> None:
    local = (config.transform_args or {}).get("local_view")
    sides = local.get("view_size") if isinstance(local, Mapping) else None
    for side in sides if isinstance(sides, list) else [sides]:
        if isinstance(side, int) and side % patch:
            raise UsageError(
                f"transform_args: local_view: view_size {sides}: the model of {option} cuts images into patches of "
                f"{patch} pixels; give multiples of that"
            )


def _check_teacher(config: PretrainConfig, needs: Needs) -> None:
    """Check that a teacher is named only for a method that has one, and that its weights are here."""
    if needs.teacher is None:
        if given := teacher_args(config):
            flag = "--" + next(iter(given)).replace("_", "-")
            raise UsageError(
                f"{flag}: --method {config.method} has no teacher; leave it, or give --method distillation"
            )
        return
    teacher = config.teacher or needs.teacher
    if needs.dino_teacher and not _DINO.fullmatch(canonical(teacher)):
        raise UsageError(
            f"--teacher {teacher}: expected a model of dinov2/ or dinov3/ for --method {config.method}; "
            "--method distillation takes any"
        )
    if config.teacher_weights is None:
        _check_own_weights(config.method, teacher)
        return
    with named_by_user():
        check_torch_file(Path(config.teacher_weights), "a state dict of torch")
    if needs.dino_teacher:
        remedy = "give --method distillation, which starts from the file of --teacher-weights alone"
        check_pretrained(teacher, f"--method {config.method}: the teacher {teacher}", remedy)


def _check_own_weights(method: str, teacher: str) -> None:
    """Check that a teacher has pretrained weights of its own, and that they are here."""
    if find_pretrained(teacher) is None:
        raise UsageError(
            f"--teacher {teacher} starts from random weights, which teach nothing: give --teacher-weights FILE, a "
            "state dict of that model, such as the encoder.pt of another run"
        )
    remedy = "give a teacher of which you have weights, with --teacher NAME --teacher-weights FILE"
    check_pretrained(teacher, f"--method {method}: the teacher {teacher}", remedy)
