"""How metrics and protocols are named, printed and defined in text, tables and reports; and which of them decide.

The metrics are computed in `training.metrics.image_metrics`.
"""

import math
from dataclasses import dataclass

from training.metrics.protocols import DEVKIT, EDGE_RATIO, EDGE_WINDOW_PX, METRICS, ZOE80GARG, Protocol

METRIC = "log10"
"""Metric that decides between predictors; lower is better. Even-handed between near and far: that of twice the depth is
that of half of it, while abs_rel can be lowered by answering too near."""

PROTOCOL = "headline"
"""Protocol under which it decides."""

GUARDS = ("abs_rel", "rmse", "silog", "delta1")
"""Metrics under `PROTOCOL` that must not be worse where a predictor is called better."""

GUARD_PROTOCOL = "edge_cleaned"
"""Protocol under which `METRIC` must not be worse either: flying returns at borders dominate outdoors."""


@dataclass(frozen=True, kw_only=True)
class MetricName:
    """How a metric is shown.

    Attributes:
        label: Column heading.
        definition: Formula with p the prediction, g the truth, e = ln p - ln g, and means over the valid pixels of an
            image.
        unit: Unit; empty for a dimensionless number.
        digits: Decimals.
        lower_is_better: False for the shares delta1 to delta3.
    """

    label: str
    definition: str
    unit: str = ""
    digits: int = 3
    lower_is_better: bool = True

    @property
    def arrow(self) -> str:
        """Return the arrow in the direction of better values."""
        return "↓" if self.lower_is_better else "↑"


def _delta(power: int) -> MetricName:
    return MetricName(
        label=f"δ{power}", definition=f"share of pixels with max(p/g, g/p) < 1.25^{power}", lower_is_better=False
    )


METRIC_NAMES = {
    "abs_rel": MetricName(label="abs_rel", definition="mean |p - g| / g"),
    "sq_rel": MetricName(label="sq_rel", unit="m", definition="mean (p - g)² / g, metres"),
    "mae": MetricName(label="mae", unit="m", definition="mean |p - g|, metres"),
    "rmse": MetricName(label="rmse", unit="m", definition="√ mean (p - g)², metres"),
    "rmse_log": MetricName(label="rmse_log", definition="√ mean e², with e = ln p - ln g (natural logarithm)"),
    "log10": MetricName(label="log10", definition="mean |log₁₀ p - log₁₀ g|"),
    "silog": MetricName(
        label="silog", digits=2, definition="100 √(mean e² - (mean e)²): the log error left after the best common scale"
    ),
    "delta1": _delta(1),
    "delta2": _delta(2),
    "delta3": _delta(3),
}
"""By metric, with the names of `METRICS`."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric as a protocol names it: `factor` times that of METRICS.

    Attributes:
        name: Name in tables and JSON.
        metric: Name in METRICS.
        factor: 1, or what turns one logarithm into another.
    """

    name: str
    metric: str
    factor: float = 1.0


def _renamed(names: dict[str, str]) -> tuple[Column, ...]:
    return tuple(Column(name=name, metric=metric) for name, metric in names.items())


_COLUMNS = {
    DEVKIT.name: (
        *_renamed({"mae": "mae", "rmse": "rmse", "abs_rel": "abs_rel", "log_mae": "log10"}),
        Column(name="log_rmse", metric="rmse_log", factor=1 / math.log(10)),
        *_renamed({f"delta{k}": f"delta{k}" for k in (1, 2, 3)}),
    ),
    ZOE80GARG.name: (
        *_renamed({f"a{k}": f"delta{k}" for k in (1, 2, 3)}),
        *_renamed({"abs_rel": "abs_rel", "rmse": "rmse", "log_10": "log10", "rmse_log": "rmse_log"}),
        *_renamed({"silog": "silog", "sq_rel": "sq_rel"}),
    ),
}
"""Metrics of the protocols of others, with their names and in their order."""


def columns_of(protocol: Protocol) -> tuple[Column, ...]:
    """Return the metrics that exist under a protocol, as it names them: without metres, those that have no unit."""
    if protocol.name in _COLUMNS:
        return _COLUMNS[protocol.name]
    kept = METRICS if protocol.in_metres else tuple(name for name in METRICS if not METRIC_NAMES[name].unit)
    return _renamed({name: name for name in kept})


@dataclass(frozen=True, kw_only=True)
class ProtocolName:
    """How a protocol is shown.

    Attributes:
        label: Row or table heading.
        note: Sentence that follows the definition; may be empty.
    """

    label: str
    note: str = ""

    def definition(self, protocol: Protocol) -> str:
        """Describe in a sentence which pixels are compared, and how."""
        text = _counted(protocol)
        if protocol.drop_edges:
            window = f"{EDGE_WINDOW_PX} x {EDGE_WINDOW_PX} window"
            text += f", no pixel whose {window} spans a depth ratio above {EDGE_RATIO:g}"
        if protocol.median_scale:
            text += ", each prediction scaled to the median of the truth first"
        return text + "." + (f" {self.note}" if self.note else "")


def _counted(protocol: Protocol) -> str:
    """Describe range, mask, crop and clamp."""
    low, high = protocol.min_depth, protocol.max_depth
    if high is None:
        text = "All truth counts" if protocol.masked else f"Truth above {low:g} m counts"
    elif protocol.open_range:
        text = f"Truth above {low:g} and below {high:g} m counts"
    else:
        text = f"Truth from {low:g} to {high:g} m counts"
    text += "" if protocol.masked else ", whatever the mask says"
    text += ", within the crop of Garg et al." if protocol.garg_crop else ""
    return text + (", predictions are clamped to this range" if protocol.clamp else ", predictions are not clamped")


PROTOCOL_NAMES = {
    "headline": ProtocolName(label="Headline"),
    "cap80": ProtocolName(label="Up to 80 m"),
    "edge_cleaned": ProtocolName(label="Edge-cleaned", note="Scanners return false depths there."),
    "median_scaled": ProtocolName(
        label="Median-scaled", note="Uses the scale of the truth: not comparable with the other protocols."
    ),
    DEVKIT.name: ProtocolName(
        label="DIODE devkit", note="As metrics.py of the DIODE devkit; log_mae and log_rmse are of log10."
    ),
    ZOE80GARG.name: ProtocolName(
        label="ZoeDepth, 80 m",
        note="As compute_metrics of ZoeDepth with its numbers for DIODE outdoor; without its average over the flipped "
        "image, which is a matter of the prediction.",
    ),
}
"""By protocol."""


def fixed(value: float, digits: int = 3) -> str:
    """Format a value with a fixed number of decimals."""
    return f"{value:.{digits}f}"


def count(number: int, noun: str) -> str:
    """Format a number with its noun, such as "3 scenes" or "1 scene"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
