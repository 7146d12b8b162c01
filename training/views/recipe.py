"""What LightlyTrain's transform draws and does, read from the public attributes of its albumentations objects.

Whatever is not understood is refused: a view made otherwise than LightlyTrain makes it would train another encoder.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2

from sharding.errors import UsageError

Range = tuple[float, float]

_TRANSFORMS = (
    *("SimCLRTransform", "DINOTransform", "DINOv2ViTTransform", "DenseCLTransform"),
    *("DistillationTransform", "DistillationV2Transform", "DistillationV3Transform"),
)
"""Transforms of LightlyTrain 0.18 that apply each of their view transforms once, in sequence, and nothing else."""

_ORDER = (
    *("RandomResizedCrop", "Resize", "HorizontalFlip", "VerticalFlip", "Rotate"),
    *("ColorJitter", "ToGray", "GaussianBlur", "Solarize", "Normalize", "ToTensorV2"),
)
_KERNEL_RADII = 3.5  # radius of albumentations' kernel in sigmas


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Rotation about the centre: with probability `p`, by an angle in `degrees`."""

    p: float = 0.0
    degrees: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Colour jitter: with probability `p`, factors in these ranges, applied in a random order.

    `hue` is in turns of the colour circle; the others multiply.
    """

    p: float = 0.0
    brightness: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    hue: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Gaussian blur: with probability `p`, `sigma` in pixels, `side` of the kernel (0: from sigma)."""

    p: float = 0.0
    sigma: Range = (0.0, 0.0)
    side: tuple[int, int] = (0, 0)

    @property
    def radius(self) -> int:
        """Largest radius of the kernel, pixels."""
        chosen = (self.side[1] + 1) // 2
        return max(chosen, int(self.sigma[1] * _KERNEL_RADII)) if self.p else 0


@dataclass(frozen=True, kw_only=True)
class Solarize:
    """Solarize: with probability `p`, levels from `threshold` (of 0 to 1) on are inverted."""

    p: float = 0.0
    threshold: Range = (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ViewRecipe:
    """How one view is made.

    Attributes:
        height, width: Size of the view, pixels.
        scale: Share of the image's area that is cropped; None: the whole image.
        ratio: Width over height of the crop.
        horizontal, vertical: Probabilities of the flips.
        rotation, jitter, blur, solarize: See there.
        grey: Probability of grey.
        mean, factor: Normalisation: (level - mean) * factor, of each channel.
    """

    height: int
    width: int
    scale: Range | None
    ratio: Range = (1.0, 1.0)
    horizontal: float = 0.0
    vertical: float = 0.0
    rotation: Rotation = field(default_factory=Rotation)
    jitter: Jitter = field(default_factory=Jitter)
    grey: float = 0.0
    blur: Blur = field(default_factory=Blur)
    solarize: Solarize = field(default_factory=Solarize)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    factor: tuple[float, float, float] = (1.0, 1.0, 1.0)


def read_recipe(transform: object) -> tuple[ViewRecipe, ...]:
    """Read a recipe for each view that LightlyTrain's transform makes of an image, in its order.

    Raises:
        UsageError: Something in the transform is not understood; names it.
    """
    name = type(transform).__name__
    if name not in _TRANSFORMS:
        raise _refused(f"views of {name}, which is not one of {', '.join(_TRANSFORMS)}")
    several = getattr(transform, "transforms", None)
    views = [getattr(transform, "transform", None)] if several is None else list(several)
    return tuple(_read_view(view, name) for view in views)


def _read_view(view: Any, name: str) -> ViewRecipe:
    compose: Any = getattr(view, "transform", None)
    if _kind(compose) != "Compose":
        raise _refused(f"{name}: a view made by {type(compose).__name__}, expected albumentations' Compose")
    _expect(compose, p=1.0, save_applied_params=False)  # saved where the crops' geometry is trained on
    parts: dict[str, Any] = {}
    kinds = [_kind(op) for op in compose.transforms]
    for kind, op in zip(kinds, compose.transforms, strict=True):
        if kind not in _READERS:
            raise _refused(f"{name}: the operation {type(op).__name__}")
        parts |= _READERS[kind](op)
    if kinds != [kind for kind in _ORDER if kind in kinds] or "mean" not in parts or "height" not in parts:
        raise _refused(f"{name}: the operations {', '.join(kinds)}, in this order and number")
    recipe = ViewRecipe(**parts)
    if recipe.blur.radius >= min(recipe.height, recipe.width):
        raise _refused(f"{name}: a blur over {recipe.blur.radius} pixels of views of {recipe.height} x {recipe.width}")
    return recipe


def _kind(op: object) -> str:
    """Return the name of the albumentations class that an object is of.

    Of subclasses, LightlyTrain's normalisation alone is known: on 8-bit images it is its base class.
    """
    known = [one for one in type(op).__mro__ if one.__module__.startswith("albumentations.")]
    exact = bool(known) and known[0] is type(op)
    return known[0].__name__ if exact or type(op).__name__ == "NormalizeDtypeAware" else type(op).__name__


def _crop(op: Any) -> dict[str, Any]:
    _expect(op, p=1.0, interpolation=cv2.INTER_AREA)
    height, width = op.size
    return {"height": int(height), "width": int(width), "scale": _range(op.scale), "ratio": _range(op.ratio)}


def _resize(op: Any) -> dict[str, Any]:
    _expect(op, p=1.0, interpolation=cv2.INTER_AREA)
    return {"height": int(op.height), "width": int(op.width), "scale": None}


def _rotate(op: Any) -> dict[str, Any]:
    # In a warp, cv2 takes INTER_AREA for INTER_LINEAR.
    _expect(op, border_mode=cv2.BORDER_REFLECT_101, crop_border=False, interpolation=cv2.INTER_AREA)
    return {"rotation": Rotation(p=float(op.p), degrees=_range(op.limit))}


def _jitter(op: Any) -> dict[str, Any]:
    ranges = {name: _range(getattr(op, name)) for name in ("brightness", "contrast", "saturation", "hue")}
    return {"jitter": Jitter(p=float(op.p), **ranges)}


def _grey(op: Any) -> dict[str, Any]:
    _expect(op, method="weighted_average", num_output_channels=3)
    return {"grey": float(op.p)}


def _blur(op: Any) -> dict[str, Any]:
    least, most = op.blur_limit
    return {"blur": Blur(p=float(op.p), sigma=_range(op.sigma_limit), side=(int(least), int(most)))}


def _solarize(op: Any) -> dict[str, Any]:
    return {"solarize": Solarize(p=float(op.p), threshold=_range(op.threshold_range))}


def _normalize(op: Any) -> dict[str, Any]:
    _expect(op, p=1.0, normalization="standard", max_pixel_value=255.0)
    if len(op.mean) != 3 or len(op.std) != 3:
        raise _refused(f"images of {len(op.mean)} channels, expected 3")
    return {"mean": tuple(map(float, op.mean_np)), "factor": tuple(map(float, op.denominator))}


def _to_tensor(op: Any) -> dict[str, Any]:
    _expect(op, p=1.0)
    return {}


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "RandomResizedCrop": _crop,
    "Resize": _resize,
    "HorizontalFlip": lambda op: {"horizontal": float(op.p)},
    "VerticalFlip": lambda op: {"vertical": float(op.p)},
    "Rotate": _rotate,
    "ColorJitter": _jitter,
    "ToGray": _grey,
    "GaussianBlur": _blur,
    "Solarize": _solarize,
    "Normalize": _normalize,
    "ToTensorV2": _to_tensor,
}


def _expect(op: Any, **expected: Any) -> None:
    for name, value in expected.items():
        if (found := getattr(op, name, None)) != value:
            raise _refused(f"{type(op).__name__} with {name} {found!r}, expected {value!r}")


def _range(found: Any) -> Range:
    low, high = found
    return float(low), float(high)


def _refused(what: str) -> UsageError:
    return UsageError(f"--views gpu does not make {what}; give --views cpu, which applies LightlyTrain's own transform")
