"""Tables of a report as values of its template: every metric cell has the exact value beside the printed one."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.metrics.names import METRIC, METRIC_NAMES, PROTOCOL_NAMES, MetricName, count, fixed
from training.metrics.protocols import METRICS
from training.report.comparison import ArmResult, Comparison, RunResult, Values

SUMMARY = {
    "headline": ("log10", "abs_rel", "rmse", "silog", "delta1"),
    "edge_cleaned": ("log10", "abs_rel", "rmse", "delta1"),
    "cap80": ("abs_rel", "rmse", "delta1"),
    "median_scaled": ("log10", "abs_rel"),
}
"""Columns of the summary table: metrics by protocol."""

RUN_METRICS = SUMMARY["headline"]
"""Columns of the table of runs."""

Look = dict[str, Any]
"""Name, css, marker and baseline of a row."""


def _cells(
    values: Mapping[str, Values], place: Mapping[str, str], metric: str, spreads: Mapping[str, Values] | None = None
) -> list[dict[str, Any]]:
    """Make the cells of a metric, one for each contender; the best printed values are marked, unless all are the same.

    Args:
        values: Metrics by contender; without the metric the text is empty, which the template shows as a dash.
        place: What identifies the cells, besides contender and metric: protocol and scene.
        metric: Metric of the cells.
        spreads: Standard deviations over runs, by contender.
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
        spread = (spreads or {}).get(contender, {}).get(metric)
        cells.append(
            {"scene": "", **place, "contender": contender, "metric": metric}
            | {"exact": "" if value is None else repr(value), "text": text, "best": text == best}
            | {"spread": "" if spread is None else spread_text(spread, name.digits)}
        )
    return cells


def _columns(comparison: Comparison, protocol: str, metrics: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Make the cells of a table, by contender and then by metric."""
    values = {one.name: one.mean(protocol) for one in comparison.contenders()}
    spreads = {one.name: one.spread(protocol) for one in comparison.contenders()}
    columns = [_cells(values, {"protocol": protocol}, metric, spreads) for metric in metrics]
    return [list(row) for row in zip(*columns, strict=True)]


def _named(metrics: Sequence[str]) -> list[MetricName]:
    return [METRIC_NAMES[metric] for metric in metrics]


def summary_table(comparison: Comparison, looks: Sequence[Look]) -> dict[str, Any]:
    """Make the table of arms and baselines under all protocols, in the metrics that matter most."""
    order = sorted(comparison.protocols, key=lambda name: [*SUMMARY, name].index(name))
    groups = {protocol: SUMMARY.get(protocol, RUN_METRICS) for protocol in order}
    if len(groups) == 1:
        groups = dict.fromkeys(groups, ("log10", "abs_rel", "silog", "delta1"))
    rows = zip(looks, *(_columns(comparison, *each) for each in groups.items()), strict=True)
    return {
        "groups": [
            {"label": PROTOCOL_NAMES[protocol].label, "metrics": _named(metrics)}
            for protocol, metrics in groups.items()
        ],
        "columns": 1 + sum(map(len, groups.values())),
        "rows": [look | {"groups": cells} for look, *cells in rows],
    }


def full_table(comparison: Comparison, looks: Sequence[Look], protocol: str) -> dict[str, Any]:
    """Make the table of all metrics under one protocol."""
    counted = sorted({one.counted(protocol) for one in comparison.contenders()})
    first = comparison.arms[0].evaluations[0]
    return {
        "label": PROTOCOL_NAMES[protocol].label,
        "definition": PROTOCOL_NAMES[protocol].definition(first.protocols[protocol]),
        "counted": f"{' / '.join(map(str, counted))} of {count(comparison.val.images, 'image')} counted.",
        "metrics": _named(METRICS),
        "columns": 1 + len(METRICS),
        "rows": [
            look | {"cells": cells} for look, cells in zip(looks, _columns(comparison, protocol, METRICS), strict=True)
        ],
    }


def scene_table(comparison: Comparison, metric: str) -> dict[str, Any]:
    """Make the table of one metric by scene."""
    protocol = comparison.protocol
    by_contender = {one.name: one.scenes(protocol) for one in comparison.contenders()}
    rows = []
    for scene in sorted({scene for scenes in by_contender.values() for scene in scenes}):
        values = {name: found.get(scene, {}) for name, found in by_contender.items()}
        images = max(int(row.get("images", 0)) for row in values.values())
        place = {"protocol": protocol, "scene": scene}
        rows.append({"scene": scene, "images": images, "cells": _cells(values, place, metric)})
    return {"metric": METRIC_NAMES[metric], "rows": rows, "columns": 2 + len(by_contender)}


def standing_table(comparison: Comparison) -> list[dict[str, Any]]:
    """Make the rows of how many runs beat which baseline, scene by scene."""
    return [
        {
            "arm": one.arm,
            "baseline": one.baseline,
            "all": f"{one.runs_better} of {one.num_runs}",
            "scenes": [f"{scene.runs_better} of {one.num_runs}" for scene in one.scenes.values()],
            "names": list(one.scenes),
        }
        for one in comparison.standings
    ]


def run_table(comparison: Comparison, looks: Sequence[Look]) -> dict[str, Any]:
    """Make the table of all runs: seed, epochs, metrics, cost."""
    rows = [
        _run_row(look, arm, one, comparison.protocol)
        for look, arm in zip(looks, comparison.arms, strict=False)
        for one in arm.runs
    ]
    return {"metrics": _named(RUN_METRICS), "columns": 6 + len(RUN_METRICS), "rows": rows}


def _run_row(look: Look, arm: ArmResult, one: RunResult, protocol: str) -> dict[str, Any]:
    means, facts = one.evaluation.mean(protocol), one.run.facts
    cells = [
        {"metric": metric, "exact": repr(means[metric]), "text": fixed(means[metric], METRIC_NAMES[metric].digits)}
        if metric in means
        else {"metric": metric, "exact": "", "text": ""}
        for metric in RUN_METRICS
    ]
    return look | {
        "arm": arm.name,
        "run": one.label,
        "seed": one.run.seed,
        "epochs": f"{facts.epochs} of {one.run.epochs}",
        "cells": cells,
        "hours": hours(one.run.device_hours),
        "device": facts.devices or "unknown",
    }


def cost_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Make the rows of what each arm cost: device hours of fine-tuning, all its runs together, and a run."""
    rows = []
    for arm in comparison.arms:
        total = arm.device_hours
        devices = dict.fromkeys(one.run.facts.devices or "unknown" for one in arm.runs)
        rows.append(
            {
                "name": arm.name,
                "runs": str(len(arm.runs)),
                "total": hours(total),
                "each": hours(None if total is None else total / len(arm.runs)),
                "devices": ", ".join(devices),
            }
        )
    return rows


def hours(value: float | None) -> str:
    """Format device hours with three significant digits; "unknown" for a run that did not record its time."""
    return "unknown" if value is None else f"{value:.3g} h"


def config_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """List the options of the arms, first those in which they differ."""
    rows = []
    options = [[one.run.config for one in arm.runs] for arm in comparison.arms]
    for name in dict.fromkeys(name for runs in options for config in runs for name in config):
        values = [", ".join(dict.fromkeys(_word(config.get(name)) for config in runs)) for runs in options]
        rows.append({"name": name, "cells": values, "differs": name in comparison.differing})
    return sorted(rows, key=lambda row: not row["differs"])


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def mean_text(arm: ArmResult, protocol: str) -> str:
    """Format the deciding metric of an arm with its spread, such as "0.181 ± 0.004"."""
    spread = arm.spread(protocol)
    return fixed(arm.mean(protocol)[METRIC]) + (f" ± {spread_text(spread[METRIC], 3)}" if spread else "")


def spread_text(spread: float, digits: int) -> str:
    """Format a standard deviation like its mean, with more decimals where it would print as 0."""
    text = fixed(spread, digits)
    return text if float(text) or not spread else f"{spread:.1g}"
