"""Colour jitter, grey and solarize on 8-bit levels, with albumentations' and cv2's rounding.

Levels are whole numbers of 0 to 255 in float32 (n, 3, h, w), R, G and B; factors are (n,), on the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training.views.device import send

_LUMA = (9798.0, 19235.0, 3735.0)  # of R, G, B in cv2's grey, of 2**15
_HSV_BITS = 12
_DEGREES = 180  # of hue in 8-bit HSV: half of a circle's
_MOST = 255


def brighten(levels: Tensor, factor: Tensor) -> Tensor:
    """Multiply the levels; cut off fractions."""
    return (levels * _each(factor).float()).clamp(0, _MOST).floor()


def contrast(levels: Tensor, factor: Tensor) -> Tensor:
    """Multiply the differences from the mean grey of each view; cut off fractions."""
    factor = _each(factor.double())
    # In float64 the sum is exact, whatever its order.
    mean = to_luma(levels).double().mean(dim=(1, 2, 3), keepdim=True)
    moved = levels * factor.float() + (mean * (1 - factor)).float()
    # With a factor of 0 albumentations rounds the mean.
    return torch.where(factor == 0, (mean + 0.5).float(), moved).clamp(0, _MOST).floor()


def saturate(levels: Tensor, factor: Tensor) -> Tensor:
    """Multiply the differences from grey; round."""
    factor = _each(factor.double())
    mixed = levels * factor.float() + to_luma(levels) * (1 - factor).float()
    return torch.round(mixed).clamp(0, _MOST)


def shift_hue(levels: Tensor, turns: Tensor) -> Tensor:
    """Turn the colours by a share of the circle, in 8-bit HSV."""
    hue, saturation, value = _to_hsv(levels.int())
    # The hue is a whole number, so that only whole degrees of the shift count.
    steps = torch.floor(turns.double() * _DEGREES).int()[:, None, None]
    return _to_rgb(torch.remainder(hue + steps, _DEGREES), saturation, value)


JITTER: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor]], ...] = (
    ("brightness", brighten),
    ("contrast", contrast),
    ("saturation", saturate),
    ("hue", shift_hue),
)
"""Name of the factor and operation, in the numbering of `training.views.draws.ORDERS`."""


def to_luma(levels: Tensor) -> Tensor:
    """Return the grey of each pixel, (n, 1, h, w)."""
    red, green, blue = (levels[:, at : at + 1] * weight for at, weight in enumerate(_LUMA))
    return ((red + green + blue + 2.0**14) * 2.0**-15).floor()  # exact: below 2**24


def to_grey(levels: Tensor) -> Tensor:
    """Replace all channels by the grey."""
    return to_luma(levels).repeat(1, 3, 1, 1)


def solarize(levels: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels from a threshold (0 to 1) on."""
    return torch.where(levels >= _each(threshold) * _MOST, _MOST - levels, levels)


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def _to_hsv(levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert int32 (n, 3, h, w) as cv2 does, by tables of rounded quotients: int32 (n, h, w) each; hue below 180."""
    red, green, blue = levels.unbind(1)
    value = levels.amax(dim=1)
    chroma = value - levels.amin(dim=1)
    divisors = torch.arange(1, _MOST + 1, device=levels.device, dtype=torch.float64)
    zero = torch.zeros(1, device=levels.device, dtype=torch.int32)
    by_value, by_chroma = (
        torch.cat([zero, torch.round(scale * 2**_HSV_BITS / divisors).int()]) for scale in (_MOST, _DEGREES / 6)
    )
    half = 1 << (_HSV_BITS - 1)
    saturation = (chroma * by_value[value] + half) >> _HSV_BITS
    turned = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    turned = torch.where(value == red, green - blue, turned)
    hue = (turned * by_chroma[chroma] + half) >> _HSV_BITS
    return torch.where(hue < 0, hue + _DEGREES, hue), saturation, value


def _to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Convert 8-bit HSV, int32 (n, h, w) each, to levels; fractions are cut off, as by the vector code of cv2."""
    sixth = hue.float() * (6 / _DEGREES)
    sector = sixth.floor()
    rest = sixth - sector
    value, saturation = value.float(), saturation.float() / _MOST
    low = value * (1 - saturation)
    falling = value * (1 - saturation * rest)
    rising = value * (1 - saturation * (1 - rest))
    corners = torch.stack([value, low, falling, rising], dim=1)  # (n, 4, h, w)
    # Which of the four R, G and B are in each sixth of the circle.
    table = send(_SECTORS, hue.device)
    index = table[sector.long()].permute(0, 3, 1, 2)  # (n, 3, h, w)
    return (corners.gather(1, index) + _WHOLE).floor()


_SECTORS = ((0, 3, 1), (2, 0, 1), (1, 0, 3), (1, 2, 0), (3, 1, 0), (0, 1, 2))
_WHOLE = 2.0**-10
"""Added before fractions are cut off, so that what is a whole number but for rounding errors stays it."""
