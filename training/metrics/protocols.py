"""Evaluation protocols: which pixels count, and how a prediction is treated before it is compared. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.depth_options import ProtocolChoice

METRICS = ("abs_rel", "sq_rel", "mae", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
"""Names of the metrics, in the order of their columns."""

MIN_VALID_PIXELS = 10
"""Images with fewer valid pixels are not counted."""

EDGE_WINDOW_PX = 5
EDGE_RATIO = 1.15
"""A pixel is at an edge if the largest / least valid depth of its 5 x 5 window exceeds this ratio.

A choice of this project, because DIODE's masks are liberal: false depths between a near and a far surface ("flying
pixels") count as valid. The window reaches 2 pixels to each side. A steeply slanted surface that changes by 15 % within
5 pixels (ground just below the horizon) is left out too.
"""

GARG_ROWS, GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)
"""The crop of Garg et al. (2016) as shares of height and width, as ZoeDepth's `compute_metrics` has it; the first row
and column are int(share * side), the last ones one before int(share * side)."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which pixels are compared, and how.

    Attributes:
        name: Key among the protocols that an evaluation is made under.
        min_depth: Ground truth below is left out, predictions below are raised to it; metres.
        max_depth: Ground truth beyond is left out, predictions beyond are lowered to it; metres. None: no limit.
        open_range: Whether truth of exactly `min_depth` or `max_depth` is left out as well.
        clamp: Whether predictions are clamped to the range; if not, they must be above 0.
        masked: Whether the mask decides; if not, every pixel whose stored depth is above 0 may count.
        garg_crop: Whether only pixels within `GARG_ROWS` and `GARG_COLUMNS` count.
        drop_edges: Leave out pixels at depth edges (`EDGE_RATIO`).
        median_scale: First multiply each prediction by median(truth) / median(prediction) over the compared pixels, as
            monodepth2 does: for comparison with scale-free methods, not for the headline of a metric model.
        in_metres: Whether truth is in metres; if not, metrics that have a unit do not exist.
        min_pixels: Images with fewer pixels to compare are not counted.
    """

    name: str
    min_depth: float = 0.6
    max_depth: float | None = 350.0
    open_range: bool = False
    clamp: bool = True
    masked: bool = True
    garg_crop: bool = False
    drop_edges: bool = False
    median_scale: bool = False
    in_metres: bool = True
    min_pixels: int = MIN_VALID_PIXELS


Protocols = Mapping[str, Protocol]
"""The protocols of an evaluation, by name."""

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="headline"),
        Protocol(name="cap80", max_depth=80.0),
        Protocol(name="edge_cleaned", drop_edges=True),
        Protocol(name="median_scaled", median_scale=True),
    )
}
"""By name: the headline (0.6 to 350 m is the range of DIODE's scanner), and the variants reported next to it."""

MEDIAN_SCALED = PROTOCOLS["median_scaled"]
"""The only protocol for a network whose depth is up to scale, on a set in metres."""

UP_TO_SCALE = Protocol(
    name="median_scaled",
    min_depth=0.0,
    max_depth=None,
    open_range=True,
    clamp=False,
    median_scale=True,
    in_metres=False,
)
"""The only protocol for a set whose depth is up to scale: it has no unit, so there is no range to count within."""

DEVKIT = Protocol(
    name="devkit", min_depth=0.0, max_depth=None, open_range=True, clamp=False, masked=False, min_pixels=1
)
"""`errors` of the DIODE devkit's metrics.py (github.com/diode-dataset/diode-devkit): truth above 0 counts."""

ZOE80GARG = Protocol(
    name="zoe80garg", min_depth=1e-3, max_depth=80.0, open_range=True, masked=False, garg_crop=True, min_pixels=1
)
"""`compute_metrics` of ZoeDepth's zoedepth/utils/misc.py (github.com/isl-org/ZoeDepth) with the numbers that its
zoedepth/utils/config.py has for `diode_outdoor`; Depth Anything reports the same."""

CHOICES: dict[ProtocolChoice, Protocols] = {
    "ours": PROTOCOLS,
    "devkit": {DEVKIT.name: DEVKIT},
    "zoe80garg": {ZOE80GARG.name: ZOE80GARG},
}
"""The protocols of each choice, for a metric network on a set with metric depth."""
