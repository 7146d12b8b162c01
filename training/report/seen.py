"""What runs had seen, in training and in validation, of the images that they are compared on."""

from collections.abc import Iterator, Sequence

from sharding.reading.shard_set import ShardSet
from training.depth_sets.overlap import describe_overlap
from training.metrics.names import count
from training.report.arms.grouping import Arm, labels
from training.report.arms.run import Run
from training.report.arms.sets import judged_on
from training.report.measuring import Trained

OPTIMISTIC = "options that were chosen by these numbers look better here than on images that were not touched"


def find_seen(arms: Sequence[Arm], trained: Sequence[Trained], val: ShardSet) -> Iterator[str]:
    """Warn of runs that were trained on what they are compared on, or may have been; or were validated elsewhere.

    Args:
        arms: The arms.
        trained: Their training sets.
        val: What they are compared on.
    """
    called = labels(arms)
    for group in trained:
        names = ", ".join(called[one.folder] for one in group.runs)
        if group.samples is None:
            yield (
                f"{names}: the training set was not found, so nothing tells whether it shares scenes with the set that "
                "is compared on."
            )
        elif shared := describe_overlap(group.samples, val):
            yield f"{names}: trained on {shared} of the set that is compared on; it tells what a network remembers."
    # Runs that held scenes out are to be judged on another set; of one that was not opened the identity is not known.
    elsewhere = [
        called[run.folder]
        for run in (run for arm in arms for run in arm.runs)
        if not (part := judged_on(run)).held_out and part.identity not in (None, val.manifest.identity)
    ]
    if elsewhere:
        set_name = f"{val.manifest.name} ({val.manifest.identity[:12]})"
        yield f"{', '.join(elsewhere)}: validated on another set than {set_name} while training."


def describe_monitored(arms: Sequence[Arm], val: ShardSet) -> str:
    """Say which runs were validated, while they trained, on images that they are compared on; "" if none was.

    Args:
        arms: The arms.
        val: What they are compared on.
    """
    called, keys = labels(arms), set(val.index["key"])
    by_number: dict[int, list[str]] = {}
    for run in (run for arm in arms for run in arm.runs):
        if number := _count_monitored(run, val, keys):
            by_number.setdefault(number, []).append(called[run.folder])
    if not by_number:
        return ""
    listed = "; ".join(
        f"{', '.join(names)} on {number} of these {count(len(val), 'image')}" for number, names in by_number.items()
    )
    return f"Validated while training: {listed}; {OPTIMISTIC}."


def _count_monitored(run: Run, val: ShardSet, keys: set[str]) -> int:
    record = run.facts.val
    if record.identity != val.manifest.identity:
        return 0
    return len(keys & set(ShardSet(val.address, record.where, val.cache).index["key"]))
