"""Pictures of depth: colour maps, colour bars, contact sheets. The only module that imports matplotlib."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sharding.format.sample import Sample

INVALID_COLOR = (128, 128, 128)
"""RGB of pixels without depth: grey, which does not occur in the colour map."""

_CELL = 256
"""Width of a panel of a contact sheet in pixels; its height is 3/4 of that."""

_BAR_WIDTH, _MARGIN, _TEXT_HEIGHT = 84, 8, 32  # pixels


def colorize_depth(
    depth: NDArray[np.float32], valid: NDArray[np.bool_], vmin: float, vmax: float, cmap: str = "turbo_r"
) -> NDArray[np.uint8]:
    """Colour a depth map on a log scale from `vmin` (near) to `vmax` (far).

    Args:
        depth: float32 (H, W), metres; clipped to the scale.
        valid: bool (H, W); pixels where it is False become grey.
        vmin: Near end of the scale in metres, > 0.
        vmax: Far end of the scale in metres.
        cmap: Name of a matplotlib colour map.

    Returns:
        uint8 (H, W, 3).
    """
    import matplotlib as mpl

    safe = np.clip(np.where(valid, depth, vmin), vmin, vmax)  # invalid depth may be 0 or NaN, which have no colour
    position = np.log(safe / vmin) / (np.log(vmax / vmin) or 1.0)  # 0 near, 1 far; a scale of one value is all 0
    colors = (mpl.colormaps[cmap](position)[..., :3] * 255).round().astype(np.uint8)
    colors[~valid] = INVALID_COLOR
    return colors


def color_bar(height: int, vmin: float, vmax: float, unit: str = "m", cmap: str = "turbo_r") -> Image.Image:
    """Draw a vertical bar of the log scale with labels, far on top: `height` in pixels, `vmin` and `vmax` in `unit`."""
    # Geometric steps are even on the log scale: float32 (height, 1).
    scale = np.geomspace(vmax, vmin, height, dtype=np.float32)[:, None]
    colors = colorize_depth(scale, np.ones_like(scale, dtype=np.bool_), vmin, vmax, cmap)[:, 0]
    span = np.log(vmax / vmin) or 1.0
    return draw_bar(colors, [(1 - np.log(value / vmin) / span, f"{value:g} {unit}") for value in _ticks(vmin, vmax)])


def draw_bar(colors: NDArray[np.uint8], ticks: Sequence[tuple[float, str]]) -> Image.Image:
    """Draw a vertical bar with labels to its right.

    Args:
        colors: uint8 (height, 3), from the top; the picture is as high.
        ticks: Labels, each with its place: 0 at the top, 1 at the bottom.
    """
    height = len(colors)
    image = Image.new("RGB", (_BAR_WIDTH, height), "white")
    image.paste(Image.fromarray(colors[:, None].repeat(14, axis=1)), (2, 0))
    draw = ImageDraw.Draw(image)
    for place, text in ticks:
        y = place * (height - 1)
        draw.line([(14, y), (20, y)], fill="black")
        draw.text((24, min(max(y - 6, 0), height - 12)), text, fill="black", font=load_font(12))
    return image


def _ticks(vmin: float, vmax: float) -> list[float]:
    """Return round numbers within the scale: 1, 2, 5 of each power of ten, thinned to at most seven."""
    powers = range(int(np.floor(np.log10(vmin))), int(np.ceil(np.log10(vmax))) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5) if vmin <= m * 10.0**p <= vmax]
    return ticks[:: max(1, -(-len(ticks) // 7))] or [vmin]


def depth_range(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the 1st and 99th percentile of valid depth over all samples; (1, 10) if there is none."""
    values = [sample.depth[sample.valid] for sample in samples if sample.depth is not None and sample.valid is not None]
    # float32 (pixels of all samples,): one scale, so that the columns of a sheet can be compared.
    pooled = np.concatenate(values) if values else np.empty(0)
    if pooled.size == 0:
        return 1.0, 10.0
    low, high = np.percentile(pooled, [1, 99])
    return float(low), float(max(high, low * 1.001))  # never an empty scale


def contact_sheet(samples: Sequence[Sample], captions: Sequence[str], unit: str = "m") -> Image.Image:
    """Draw a column per sample: the image and, if any sample has depth, coloured depth, valid mask and a colour bar.

    Args:
        samples: One or more samples.
        captions: One or two lines below each column.
        unit: Unit of depth in the labels of the colour bar.
    """
    deep = any(sample.depth is not None for sample in samples)
    vmin, vmax = depth_range(samples)
    columns = [_column(sample, caption, (vmin, vmax), deep) for sample, caption in zip(samples, captions, strict=True)]
    per_row = min(len(columns), 4)
    height = max(column.height for column in columns)
    rows = -(-len(columns) // per_row)  # rounded up
    sheet = Image.new(
        "RGB",
        (per_row * (_CELL + _MARGIN) + _MARGIN + (_BAR_WIDTH if deep else 0), rows * (height + _MARGIN) + _MARGIN),
        "white",
    )
    for at, column in enumerate(columns):
        sheet.paste(column, (_MARGIN + at % per_row * (_CELL + _MARGIN), _MARGIN + at // per_row * (height + _MARGIN)))
    if deep:
        sheet.paste(
            color_bar(min(sheet.height - 2 * _MARGIN, 480), vmin, vmax, unit), (sheet.width - _BAR_WIDTH, _MARGIN)
        )
    return sheet


def _column(sample: Sample, caption: str, scale: tuple[float, float], deep: bool) -> Image.Image:
    """Stack the panels of a sample, each centred in a slot of 4:3, above the caption."""
    panels = [_fit(sample.image)]
    if deep:
        shape = sample.image.shape[:2]
        valid = np.zeros(shape, np.bool_) if sample.valid is None else sample.valid
        depth = np.ones(shape, np.float32) if sample.depth is None else sample.depth
        panels += [
            _fit(colorize_depth(depth, valid, *scale)),
            _fit(np.where(valid[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)),
        ]
    column = Image.new("RGB", (_CELL, len(panels) * (_CELL * 3 // 4 + _MARGIN // 2) + _TEXT_HEIGHT), "white")
    for at, panel in enumerate(panels):
        slot = _CELL * 3 // 4  # height in pixels
        column.paste(panel, ((_CELL - panel.width) // 2, at * (slot + _MARGIN // 2) + (slot - panel.height) // 2))
    ImageDraw.Draw(column).text(
        (2, column.height - _TEXT_HEIGHT + 2),
        "\n".join(line[:42] for line in caption.splitlines()),
        fill="black",
        font=load_font(11),
    )
    return column


def _fit(pixels: NDArray[np.uint8]) -> Image.Image:
    """Scale to the cell, keeping the aspect; small images are enlarged without smoothing."""
    factor = min(_CELL / pixels.shape[1], _CELL * 3 / 4 / pixels.shape[0])
    size = max(1, int(pixels.shape[1] * factor)), max(1, int(pixels.shape[0] * factor))
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(
        size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST
    )


def fit_side(
    pixels: NDArray[np.uint8], side_px: int, shrinking: Image.Resampling = Image.Resampling.BOX
) -> Image.Image:
    """Scale uint8 (H, W, 3) so that the longer side has `side_px`; pixels of a small picture are repeated.

    Args:
        pixels: The picture.
        side_px: Pixels.
        shrinking: How a large one is made smaller; colours that stand for numbers must not be mixed (NEAREST).
    """
    factor = side_px / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    return Image.fromarray(pixels).resize(size, shrinking if factor < 1 else Image.Resampling.NEAREST)


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the font of all pictures; `size` in pixels."""
    return ImageFont.load_default(size)


def encode_png(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """Encode a picture, or uint8 pixels (H, W, 3) or (H, W), as a PNG file."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()
