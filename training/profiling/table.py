"""The figures of a profile as a table, for users."""

from collections.abc import Mapping
from typing import Any

from training.profiling.bottleneck import CONSUMER, NAMES, percent


def make_table(data: Mapping[str, Any]) -> str:
    """Format the table for users, and under it the notes and the verdict."""
    title = (
        f"{data['set']}: {data['samples']} samples ({', '.join(data['parts'])}) of {data['view_px'][0]} x "
        f"{data['view_px'][1]} px in batches of {data['batch_size']}; medians of {data['repeats']} repeats"
    )
    # Columns as wide as those of `_row`.
    heads = f"{'samples/s':>10}{'MB/s':>9} {'of bytes':<9}{'ms/sample':>9}  {'min - max':<17}{'on CPU':>7}{'share':>7}"
    rows = [_row(NAMES[name], one) for name, one in data["stages"].items()]
    rows += [f"  {'(the rest)':<15}{percent(data['rest_share']):>70}", _row("whole chain", data["chain"])]
    if (cold := data["cold"]) is not None:
        rows += [_row("fetch, cold", cold["fetch"]), _row("chain, cold", cold["chain"])]
    if (transfer := data["transfer"]) is not None:
        rows.append(_row("transfer", transfer))
    if (workers := data["workers"]) is not None:
        ratio, count = workers["ratio"], _count(data["num_workers"], "worker")
        spread = f"{ratio['median']:.2f} times one process ({ratio['min']:.2f} - {ratio['max']:.2f})"
        machine = f"{_count(data['machine']['cpus'], 'core')} (load {data['machine']['load']:.1f} when this began)"
        rows += [_row(count, workers), _row(CONSUMER, data["consumer"]), f"  {count} on {machine}: {spread}"]
    return "\n".join(
        [title, f"  {'stage':<15}{heads}", *rows, *(f"  {note}" for note in data["notes"]), data["verdict"]["text"]]
    )


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _row(name: str, one: Mapping[str, Any]) -> str:
    rates = f"{one['samples_per_s']:>10.1f}{one['mb_per_s']:>9.1f} {one['bytes_are']:<9}"
    spread = f"{one['ms_per_sample_min']:.3f} - {one['ms_per_sample_max']:.3f}"
    shares = f"{percent(one['cpu_share']):>7}{percent(one['share']):>7}"
    return f"  {name:<15}{rates}{one['ms_per_sample']:>9.3f}  {spread:<17}{shares}".rstrip()
