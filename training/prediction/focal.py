"""The focal length of a photo in pixels, as far as its EXIF data tell."""

import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

_FILM_DIAGONAL_MM = math.hypot(36, 24)
"""Of a frame of 35 mm film. An equivalent focal length has the same angle of view along the diagonal (CIPA DCG-001)."""

_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Millimetres in a FocalPlaneResolutionUnit: inch and centimetre (EXIF 2.3); millimetre and micrometre are in use."""

_PLAUSIBLE = (0.05, 50.0)
"""Focal length by image diagonal: from a fisheye to a telescope. Anything else in EXIF is an error of the writer."""


def read_focal_px(image: Image.Image) -> float | None:
    """Read the focal length of an image from its EXIF data, in pixels of the image as it is.

    FocalLengthIn35mmFilm is taken, as it stays true when an image is resized; else FocalLength with
    FocalPlaneXResolution, which counts the pixels of the sensor: they are scaled if ExifImageWidth tells how many the
    camera wrote. A crop of a photo that kept its EXIF data cannot be told from the whole.

    Returns:
        Pixels; None if it is not told, or is not plausible.
    """
    tags = image.getexif().get_ifd(IFD.Exif)
    focal = _from_film(tags, image.size) or _from_sensor(tags, image.size)
    if focal is None or not _PLAUSIBLE[0] <= focal / math.hypot(*image.size) <= _PLAUSIBLE[1]:
        return None
    return focal


def _from_film(tags: Mapping[int, Any], size: tuple[int, int]) -> float | None:
    film_mm = _positive(tags.get(Base.FocalLengthIn35mmFilm))
    return None if film_mm is None else film_mm / _FILM_DIAGONAL_MM * math.hypot(*size)


def _from_sensor(tags: Mapping[int, Any], size: tuple[int, int]) -> float | None:
    focal_mm, per_unit = _positive(tags.get(Base.FocalLength)), _positive(tags.get(Base.FocalPlaneXResolution))
    unit_mm = _UNIT_MM.get(tags.get(Base.FocalPlaneResolutionUnit, 2))
    if focal_mm is None or per_unit is None or unit_mm is None:
        return None
    sides = [_positive(tags.get(tag)) for tag in (Base.ExifImageWidth, Base.ExifImageHeight)]
    # The longer sides, since the image may have been turned since.
    taken = max((side for side in sides if side is not None), default=max(size))
    return focal_mm * per_unit / unit_mm * max(size) / taken


def _positive(value: Any) -> float | None:
    """Return a number of EXIF, where 0 means unknown and writers leave anything."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
