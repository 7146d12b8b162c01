"""How metrics and protocols are named, printed and defined in text, tables and reports; and which of them decide.

The metrics are computed in `training.model.metrics`.
"""

from dataclasses import dataclass

from training.model.metrics import EDGE_RATIO, EDGE_WINDOW_PX, Protocol

METRIC = "log10"
"""Metric that decides between predictors; lower is better. Even-handed between near and far: that of twice the depth is
that of half of it, while abs_rel can be lowered by answering too near."""

PROTOCOL = "headline"
"""Protocol under which it decides."""


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
        text = f"Truth from {protocol.min_depth:g} to {protocol.max_depth:g} m counts, predictions are clamped to this"
        if protocol.drop_edges:
            window = f"{EDGE_WINDOW_PX} x {EDGE_WINDOW_PX} window"
            text += f", no pixel whose {window} spans a depth ratio above {EDGE_RATIO:g}"
        if protocol.median_scale:
            text += ", each prediction scaled to the median of the truth first"
        return text + "." + (f" {self.note}" if self.note else "")


PROTOCOL_NAMES = {
    "headline": ProtocolName(label="Headline"),
    "cap80": ProtocolName(label="Up to 80 m"),
    "edge_cleaned": ProtocolName(label="Edge-cleaned", note="Scanners return false depths there."),
    "median_scaled": ProtocolName(
        label="Median-scaled", note="Uses the scale of the truth: not comparable with the other protocols."
    ),
}
"""By protocol, with the names of `PROTOCOLS`."""


def fixed(value: float, digits: int = 3) -> str:
    """Format a value with a fixed number of decimals."""
    return f"{value:.{digits}f}"


def count(number: int, noun: str) -> str:
    """Format a number with its noun, such as "3 scenes" or "1 scene"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
