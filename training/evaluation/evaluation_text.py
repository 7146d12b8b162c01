"""An evaluation as plain text tables."""

from collections.abc import Sequence

from training.evaluation.results import Evaluation, Means
from training.metrics.names import METRIC, PROTOCOL_NAMES, columns_of, count, fixed

_SHOWN = (METRIC, "abs_rel", "rmse", "silog", "delta1", "delta2", "delta3")
"""Metrics of `ours` that have a column here; of others' protocols all have."""

_MOST_SCANS = 20


def format_evaluation(evaluation: Evaluation, notes: Sequence[str] = ()) -> str:
    """Format the metrics as text: by protocol, by scene type, scene and scan, and how protocols are defined.

    Args:
        evaluation: The evaluation; scans have rows if there are at most 20 of them.
        notes: Sentences about the checkpoint, below the title.
    """
    names = _columns(evaluation)
    means = {PROTOCOL_NAMES[name].label: evaluation.mean(name) for name in evaluation.protocols}
    lines = [f"{evaluation.predictor} on {evaluation.set.describe()}", *notes]
    lines += _table("", {label: row for label, row in means.items() if row}, names)
    primary = evaluation.primary
    scans = evaluation.scans(primary)
    groups = {
        "scene type": evaluation.scene_types(primary),
        "scene": evaluation.scenes(primary),
        "scan": scans if len(scans) <= _MOST_SCANS else {},
    }
    for kind, rows in groups.items():
        lines += _table(f"{kind} ({PROTOCOL_NAMES[primary].label.lower()})", rows, names) if rows else []
    lines += ["", f"protocol {evaluation.choice}:"]
    lines += [f"{PROTOCOL_NAMES[name].label}: {text}" for name, text in evaluation.definitions().items()]
    return "\n".join([*lines, "", _skipped(evaluation)])


def _columns(evaluation: Evaluation) -> list[str]:
    columns = [column.name for column in columns_of(evaluation.protocols[evaluation.primary])]
    return [name for name in _SHOWN if name in columns] if evaluation.choice == "ours" else columns


def _table(head: str, rows: Means, names: list[str]) -> list[str]:
    lines = ["", _line(head, names)]
    return lines + [_line(name, [fixed(row[metric]) for metric in names]) for name, row in rows.items()]


def _line(name: str, cells: list[str]) -> str:
    return f"{name:<26}" + "".join(f"{cell:>9}" for cell in cells)


def _skipped(evaluation: Evaluation) -> str:
    primary = evaluation.primary
    skipped = evaluation.skipped(primary)
    text = f"{count(skipped, 'image')} skipped for too few valid pixels"
    if skipped and evaluation.set.without_depth and evaluation.protocols[primary].masked:
        text += f", {evaluation.set.without_depth} of them without a valid pixel"
    return text
