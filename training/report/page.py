"""The report: one self-contained HTML file, rendered from a `Comparison`.

Converts values to the variables of the template (report.html, report.css). Every metric cell contains the exact value
in addition to the printed one. Computes no metric and reads no file but the template.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from training.evaluation.metric_names import METRIC, METRIC_NAMES, PROTOCOL, PROTOCOL_NAMES, MetricName, count, fixed
from training.evaluation.results import Evaluation
from training.model.metrics import METRICS, MIN_VALID_PIXELS, PROTOCOLS
from training.report.charts import Line, Reference, line_chart
from training.report.comparison import Arm, Comparison, Gallery
from training.report.standing import Standing, distinct, headline, ranking
from training.report.strip import strip_plot

SUMMARY = {
    "headline": ("abs_rel", "rmse", "log10", "delta1", "delta2", "delta3"),
    "cap80": ("abs_rel", "rmse", "delta1"),
    "edge_cleaned": ("abs_rel", "rmse", "delta1"),
}
"""Columns of the summary table: metrics by protocol."""

NUM_ARM_STYLES, NUM_BASELINE_STYLES = 6, 2
"""Number of line styles that report.css defines; further arms and baselines reuse them in turn."""

RELATION_CSS = {"beats": "beats", "does not beat": "not", "equals": "equals"}


def render_report(comparison: Comparison) -> str:
    """Render the page.

    Returns:
        A complete HTML document without references to other files or URLs.
    """
    folder = resources.files("training.report")
    # StrictUndefined: a variable that the template needs and `_page` lacks is an error, not an empty string.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["fixed"] = fixed
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    css = (folder / "report.css").read_text(encoding="utf-8")
    # Markup marks text of our own as HTML; all other values, such as names of folders, are escaped.
    return template.render(css=Markup(css), **_page(comparison))


def _page(comparison: Comparison) -> dict[str, Any]:
    contenders = _contenders(comparison)
    num_arms, num_baselines = len(comparison.arms), len(comparison.baselines)
    values = [(arm.name, arm.evaluation.mean(PROTOCOL)[METRIC]) for arm in comparison.arms]
    return {
        "title": f"{count(num_arms, 'arm')}, {count(num_baselines, 'baseline')}: {comparison.val.name}",
        "headline": headline(comparison.standings),
        "warnings": comparison.warnings,
        "ranking": ranking(values),
        "caution": comparison.caution(),
        "val": comparison.val,
        "contenders": contenders,
        # `contenders` begins with the arms, in the same order.
        "arms": [_card(arm, look, comparison) for arm, look in zip(comparison.arms, contenders, strict=False)],
        "baselines": comparison.baselines,
        "strip": strip_plot([look | {"evaluation": evaluation} for look, (_, evaluation) in _looks(comparison)]),
        "table": _summary_table(comparison),
        "scene_tables": [_scene_table(comparison, metric) for metric in ("abs_rel", "delta1")],
        "full_tables": [_full_table(comparison, protocol) for protocol in PROTOCOLS],
        "charts": _charts(comparison),
        "config": _config_rows(comparison.arms),
        "facts": _facts(comparison),
        "command": comparison.command,
        "metrics": list(METRIC_NAMES.values()),
        "versions": ", ".join(f"{name} {version}" for name, version in comparison.versions.items()),
        **_gallery(comparison.gallery),
    }


def _contenders(comparison: Comparison) -> list[dict[str, Any]]:
    """Return name and style of every arm, then of every baseline."""
    arms = [
        {"name": arm.name, "css": f"s{index % NUM_ARM_STYLES}", "baseline": False}
        for index, arm in enumerate(comparison.arms)
    ]
    return arms + [
        {"name": result.name, "css": f"r{index % NUM_BASELINE_STYLES}", "baseline": True}
        for index, result in enumerate(comparison.baselines)
    ]


def _looks(comparison: Comparison) -> list[tuple[dict[str, Any], tuple[str, Evaluation]]]:
    return list(zip(_contenders(comparison), comparison.contenders(), strict=True))


def _card(arm: Arm, look: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    own = [standing for standing in comparison.standings if standing.arm == arm.name]
    config = arm.config
    encoder = config.get("encoder", "none")
    start = "random weights" if encoder == "none" else f"encoder {encoder}"
    return look | {
        "about": [config["encoder_name"], start, f"{len(arm.history)} epochs", f"seed {config['seed']}"],
        "value": fixed(arm.evaluation.mean(PROTOCOL)[METRIC]),
        "counted": count(arm.evaluation.counted(PROTOCOL), "image"),
        "standings": [_standing(standing) for standing in own],
    }


def _standing(standing: Standing) -> dict[str, str]:
    arm_value, baseline_value = distinct(standing.arm_value, standing.baseline_value)
    return {
        "css": RELATION_CSS[standing.relation],
        "relation": standing.relation,
        "baseline": standing.baseline,
        "arm_value": arm_value,
        "baseline_value": baseline_value,
        "change": standing.change(),
        "scenes": f"{standing.scenes_better} of {count(standing.num_scenes, 'scene')}",
        "images": f"{standing.images_better} of {count(standing.num_images, 'image')}",
    }


def _cells(
    values: Mapping[str, Mapping[str, float]], protocol: str, metric: str, scene: str = ""
) -> list[dict[str, Any]]:
    """Make the cells of a metric, one per contender; the best printed values are marked, unless all are the same.

    Args:
        values: Metrics by contender; without the metric the text is empty, which the template shows as a dash.
        protocol: Protocol of the values.
        metric: Metric of the cells.
        scene: Scene of the values; empty for all scenes.
    """
    name = METRIC_NAMES[metric]
    found = [row[metric] for row in values.values() if metric in row]
    printed = {fixed(value, name.digits) for value in found}
    # Compared as printed: values that a reader cannot distinguish are all marked.
    best = fixed((min if name.lower_is_better else max)(found), name.digits) if len(printed) > 1 else None
    cells = []
    for contender, row in values.items():
        value = row.get(metric)
        text = "" if value is None else fixed(value, name.digits)
        place = {"contender": contender, "protocol": protocol, "metric": metric, "scene": scene}
        cells.append(place | {"exact": "" if value is None else repr(value), "text": text, "best": text == best})
    return cells


def _columns(comparison: Comparison, protocol: str, metrics: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Make the cells of a table, by contender and then by metric."""
    values = {name: evaluation.mean(protocol) for name, evaluation in comparison.contenders()}
    columns = [_cells(values, protocol, metric) for metric in metrics]
    return [list(row) for row in zip(*columns, strict=True)]


def _summary_table(comparison: Comparison) -> dict[str, Any]:
    by_group = [_columns(comparison, protocol, metrics) for protocol, metrics in SUMMARY.items()]
    rows = zip(_contenders(comparison), *by_group, strict=True)
    return {
        "groups": [
            {"label": PROTOCOL_NAMES[protocol].label, "metrics": _named(metrics)}
            for protocol, metrics in SUMMARY.items()
        ],
        "rows": [look | {"groups": groups} for look, *groups in rows],
    }


def _named(metrics: Sequence[str]) -> list[MetricName]:
    return [METRIC_NAMES[metric] for metric in metrics]


def _full_table(comparison: Comparison, protocol: str) -> dict[str, Any]:
    counted = {evaluation.counted(protocol) for _, evaluation in comparison.contenders()}
    total = comparison.val.images
    return {
        "label": PROTOCOL_NAMES[protocol].label,
        "definition": PROTOCOL_NAMES[protocol].definition(PROTOCOLS[protocol]),
        "counted": f"{' / '.join(map(str, sorted(counted)))} of {count(total, 'image')} counted.",
        "metrics": _named(METRICS),
        "rows": [
            look | {"cells": cells}
            for look, cells in zip(_contenders(comparison), _columns(comparison, protocol, METRICS), strict=True)
        ],
    }


def _scene_table(comparison: Comparison, metric: str) -> dict[str, Any]:
    by_contender = {name: evaluation.scenes(PROTOCOL) for name, evaluation in comparison.contenders()}
    scenes = sorted({scene for scenes in by_contender.values() for scene in scenes})
    rows = []
    for scene in scenes:
        values = {name: found.get(scene, {}) for name, found in by_contender.items()}
        images = max(int(row.get("images", 0)) for row in values.values())
        rows.append({"scene": scene, "images": images, "cells": _cells(values, PROTOCOL, metric, scene)})
    return {"metric": METRIC_NAMES[metric], "rows": rows}


def _charts(comparison: Comparison) -> list[dict[str, Any]]:
    val: list[Line] = []
    train: list[Line] = []
    for index, arm in enumerate(comparison.arms):
        for lines, field in ((val, "val_abs_rel"), (train, "train_loss")):
            points = tuple(
                (epoch.epoch, getattr(epoch, field)) for epoch in arm.history if getattr(epoch, field) is not None
            )
            lines.append(Line(name=arm.name, points=points, style=index % NUM_ARM_STYLES))
    levels = [
        Reference(name=result.name, value=result.evaluation.mean(PROTOCOL)[METRIC], style=index % NUM_BASELINE_STYLES)
        for index, result in enumerate(comparison.baselines)
    ]
    losses = ", ".join(sorted({str(arm.config.get("loss", "loss")) for arm in comparison.arms}))
    drawn = [(f"Validation {METRIC}", val, levels), (f"Training loss ({losses})", train, [])]
    return [
        {"title": title, "svg": Markup(line_chart(f"{title} by epoch", lines, references))}
        for title, lines, references in drawn
        if any(line.points for line in lines)
    ]


def _config_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """List the options, first those in which the arms differ; `out`, which always differs, is not marked."""
    rows = []
    for name in dict.fromkeys(name for arm in arms for name in arm.config):
        values = ["" if arm.config.get(name) is None else str(arm.config[name]) for arm in arms]
        rows.append({"name": name, "cells": values, "differs": name != "out" and len(set(values)) > 1})
    return sorted(rows, key=lambda row: not row["differs"])


def _gallery(gallery: Gallery) -> dict[str, Any]:
    return {
        "gallery": gallery,
        "depth_marks": [
            {"css": "left", "at": 0, "text": f"{gallery.near_m:.3g}"},
            {"css": "", "at": 50, "text": f"{(gallery.near_m * gallery.far_m) ** 0.5:.3g}"},  # log scale
            {"css": "right", "at": 100, "text": f"{gallery.far_m:.3g} m"},
        ],
        "error_marks": [
            {"css": "left", "at": 0, "text": f"1/{gallery.max_factor:g}"},
            {"css": "", "at": 50, "text": "1"},
            {"css": "right", "at": 100, "text": f"{gallery.max_factor:g}"},
        ],
    }


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    trained = {arm.train.key: arm.train for arm in comparison.arms}
    skipped = {
        name: comparison.val.images - evaluation.counted(PROTOCOL) for name, evaluation in comparison.contenders()
    }
    return [
        ("Evaluated on", f"{comparison.val.describe()}, at {comparison.val.url}"),
        ("Computed", f"in {comparison.arms[0].evaluation.precision} on {comparison.arms[0].evaluation.device}"),
        *(("Trained on", f"{info.describe()}, at {info.url}") for info in trained.values()),
        (
            "Left out",
            f"Images with fewer than {MIN_VALID_PIXELS} pixels to compare: {max(skipped.values())} (headline).",
        ),
        *((f"Checkpoint of {arm.name}", f"sha256 {arm.evaluation.fingerprint}") for arm in comparison.arms),
    ]
