"""Example images of a report, painted: `training.report.examples` makes them, the page shows them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A predictor's depth of one image and its error, as PNG files.

    Attributes:
        name: Name of the predictor.
        value: Deciding metric of this prediction on this image.
        depth_png: Depth in colour, on the gallery's scale.
        error_png: Log ratio of prediction to truth in colour, on the gallery's scale; grey where there is no truth.
    """

    name: str
    value: float
    depth_png: bytes
    error_png: bytes


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image with truth and predictions.

    Attributes:
        key: Key of the sample.
        scene: Its scene.
        reason: Why this image is shown.
        image_png: The image.
        truth_png: Measured depth in colour; grey where nothing was measured.
        panels: One for each arm, then the row baselines.
    """

    key: str
    scene: str
    reason: str
    image_png: bytes
    truth_png: bytes
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Example images and the two colour scales they share.

    Attributes:
        examples: The images.
        near_m: Depth at the left end of the depth scale, metres; the scale is logarithmic.
        far_m: Depth at its right end, metres.
        max_factor: Error at the right end of the error scale: prediction / truth; its inverse at the left end.
        depth_bar_png: The depth scale, left to right.
        error_bar_png: The error scale, left to right.
    """

    examples: tuple[Example, ...]
    near_m: float
    far_m: float
    max_factor: float
    depth_bar_png: bytes
    error_bar_png: bytes
