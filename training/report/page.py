"""The report: one self-contained HTML file, rendered from a `Comparison`.

Converts values to the variables of the template (report.html, report.css). Computes no metric and reads no file but the
template.
"""

import base64
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from training.metrics.names import METRIC, METRIC_NAMES, PROTOCOL_NAMES, count, fixed
from training.metrics.protocols import MIN_VALID_PIXELS
from training.report.charts.forest import Bar, forest_plot
from training.report.charts.line_chart import Line, Reference, line_chart
from training.report.charts.strip import Track, strip_plot
from training.report.charts.styles import Style, arm_styles, style_sheet
from training.report.comparison import ArmResult, Comparison
from training.report.gallery import Gallery
from training.report.standing import Standing, distinct_texts
from training.report.tables import (
    Look,
    config_rows,
    cost_rows,
    full_table,
    mean_text,
    run_table,
    scene_table,
    standing_table,
    summary_table,
)
from training.report.verdict import Claim, headline, percent, ratio_text

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
    styles = arm_styles(len(comparison.arms))
    css = (folder / "report.css").read_text(encoding="utf-8") + style_sheet(styles)
    # Markup marks text of our own as HTML; all other values, such as names of folders, are escaped.
    return template.render(css=Markup(css), **_page(comparison, styles))


def _page(comparison: Comparison, styles: Sequence[Style]) -> dict[str, Any]:
    looks = _looks(comparison, styles)
    num_arms, num_runs = len(comparison.arms), sum(len(arm.runs) for arm in comparison.arms)
    return {
        "title": f"{count(num_arms, 'arm')}, {count(num_runs, 'run')}: {comparison.val.name}",
        "metric": METRIC,
        "metric_definition": METRIC_NAMES[METRIC].definition,
        "protocol": PROTOCOL_NAMES[comparison.protocol].label,
        "headline": headline(comparison.contrasts),
        "contrasts": [
            {"css": one.these_scenes.relation, "sentences": one.sentences(), "factors": one.factors}
            | {"a": one.a, "b": one.b, "guards": [guard.text({"a": one.a, "b": one.b}) for guard in one.guards]}
            for one in comparison.contrasts
        ],
        "guards": list(dict.fromkeys(guard.label for one in comparison.contrasts for guard in one.guards)),
        "named": comparison.named,
        "factors": comparison.factors,
        "margin": comparison.margin,
        "forest": _forest(comparison),
        "warnings": comparison.warnings,
        "note": comparison.note,
        "val": comparison.val,
        "contenders": looks,
        # `looks` begins with the arms, in the same order.
        "arms": [_card(arm, look, comparison) for arm, look in zip(comparison.arms, looks, strict=False)],
        "baselines": comparison.baselines,
        "strip": _strip(comparison, looks),
        "table": summary_table(comparison, looks),
        "standings": standing_table(comparison),
        "scene_tables": [scene_table(comparison, metric) for metric in (METRIC, "abs_rel")],
        "full_tables": [full_table(comparison, looks, protocol) for protocol in comparison.protocols],
        "runs": run_table(comparison, looks),
        "cost": cost_rows(comparison),
        "charts": _charts(comparison, styles),
        "config": config_rows(comparison),
        "facts": _facts(comparison),
        "command": comparison.command,
        "metrics": list(METRIC_NAMES.values()),
        "versions": ", ".join(f"{name} {version}" for name, version in comparison.versions.items()),
        **_gallery(comparison.gallery),
    }


def _looks(comparison: Comparison, styles: Sequence[Style]) -> list[Look]:
    """Return name and style of every arm, then of every baseline."""
    arms = [
        {"name": arm.name, "css": style.css, "marker": style.marker, "baseline": False}
        for arm, style in zip(comparison.arms, styles, strict=True)
    ]
    return arms + [
        {"name": result.name, "css": f"r{index % 2}", "marker": "", "baseline": True}
        for index, result in enumerate(comparison.baselines)
    ]


def _forest(comparison: Comparison) -> dict[str, Any] | None:
    bars = [
        Bar(
            name=f"{one.a} : {one.b}",
            kind=place,
            relation=claim.relation,
            ratio=claim.ratio,
            low=claim.low,
            high=math.inf if claim.high is None and claim.low is not None else claim.high,
            text=_interval(claim),
        )
        for one in comparison.contrasts
        for place, claim in one.claims()
    ]
    return forest_plot(bars, comparison.margin) if bars else None


def _interval(claim: Claim) -> str:
    return ratio_text(claim.ratio) + (
        "" if claim.low is None else f" ({ratio_text(claim.low)} to {ratio_text(claim.high)})"
    )


def _strip(comparison: Comparison, looks: Sequence[Look]) -> dict[str, Any]:
    protocol = comparison.protocol
    tracks = [_track(arm, protocol) for arm in comparison.arms]
    for baseline in comparison.baselines:
        value = baseline.mean(protocol)[METRIC]
        tracks.append(Track(name=baseline.name, mean=value, text=fixed(value)))
    plot = strip_plot(tracks)
    return plot | {"rows": [look | row for look, row in zip(looks, plot["rows"], strict=True)]}


def _track(arm: ArmResult, protocol: str) -> Track:
    values = [(run.label, run.evaluation.mean(protocol)[METRIC]) for run in arm.runs]
    dots = tuple((label, value, fixed(value)) for label, value in values)
    return Track(name=arm.name, mean=arm.mean(protocol)[METRIC], text=mean_text(arm, protocol), dots=dots)


def _card(arm: ArmResult, look: Look, comparison: Comparison) -> dict[str, Any]:
    runs = [one.run for one in arm.runs]
    spread = arm.seed_spread(comparison.protocol)
    about = [
        ", ".join(dict.fromkeys(str(run.config["encoder_name"]) for run in runs)),
        ", ".join(dict.fromkeys(run.encoder.describe() for run in runs)),
        " or ".join(dict.fromkeys(count(run.facts.epochs, "epoch") for run in runs)),
        f"seed{'s' if len(runs) > 1 else ''} {', '.join(str(run.seed) for run in runs)}",
        *([] if spread is None else [f"spread by seed {percent(spread)}"]),
    ]
    return look | {
        "about": about,
        "value": mean_text(arm, comparison.protocol),
        "counted": f"{count(len(runs), 'run')} on {count(arm.counted(comparison.protocol), 'image')}",
        "standings": [_standing(one) for one in comparison.standings if one.arm == arm.name],
    }


def _standing(standing: Standing) -> dict[str, str]:
    arm_value, baseline_value = distinct_texts(standing.arm_value, standing.baseline_value)
    return {
        "css": RELATION_CSS[standing.relation],
        "relation": standing.relation,
        "baseline": standing.baseline,
        "arm_value": arm_value,
        "baseline_value": baseline_value,
        "change": standing.change(),
        "where": standing.where(),
    }


def _charts(comparison: Comparison, styles: Sequence[Style]) -> list[dict[str, Any]]:
    metric = _curve_metric(comparison)
    val, train = _lines(comparison, styles, metric), _lines(comparison, styles, None)
    levels = [
        Reference(name=result.name, value=result.mean(comparison.protocol)[metric], style=index)
        for index, result in enumerate(comparison.baselines)
        if metric is not None
    ]
    losses = ", ".join(sorted({one.run.loss for arm in comparison.arms for one in arm.runs}))
    note = "" if metric == METRIC else f"Some run has logged no {METRIC}: this is the metric that all have."
    drawn = [(f"Validation {metric}", val, levels, note), (f"Training loss ({losses})", train, [], "")]
    return [
        {"title": title, "note": note, "svg": Markup(line_chart(f"{title} by epoch", lines, references))}
        for title, lines, references, note in drawn
        if any(line.points for line in lines)
    ]


def _curve_metric(comparison: Comparison) -> str | None:
    """Return the deciding metric if every run has logged it, else abs_rel, as older runs have; None for neither."""
    histories = [one.history for arm in comparison.arms for one in arm.runs]
    for metric in (METRIC, "abs_rel"):
        if all(any(metric in epoch.val for epoch in history) for history in histories):
            return metric
    return None


def _lines(comparison: Comparison, styles: Sequence[Style], metric: str | None) -> list[Line]:
    """Return the curve of each run: of a validation metric, or with None of the training loss."""
    lines = []
    for arm, style in zip(comparison.arms, styles, strict=True):
        for number, one in enumerate(arm.runs):
            values = [(at.epoch, at.train_loss if metric is None else at.val.get(metric)) for at in one.history]
            points = tuple((float(epoch), value) for epoch, value in values if value is not None)
            lines.append(Line(name=f"{arm.name}, {one.label}", points=points, style=style, dash=number))
    return lines


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
    skipped = [comparison.val.images - one.counted(comparison.protocol) for one in comparison.contenders()]
    computed = dict.fromkeys(
        f"in {one.precision} on {one.device}" for arm in comparison.arms for one in arm.evaluations
    )
    trained = dict.fromkeys(result.train for result in comparison.baselines)
    return [
        ("Compared on", f"{comparison.val.describe()}, at {comparison.val.url}"),
        ("Computed", "; ".join(computed)),
        *(("Baselines of", text) for text in trained),
        ("Left out", f"Images with fewer than {MIN_VALID_PIXELS} pixels to compare: {max(skipped)}."),
        *(
            (f"Checkpoint of {one.label}", f"sha256 {one.evaluation.fingerprint}")
            for arm in comparison.arms
            for one in arm.runs
        ),
    ]
