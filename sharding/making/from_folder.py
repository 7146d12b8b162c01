"""Make a set from a folder: the planned shards on all cores.

The run may be killed at any moment and started again: the ledger has a line for each finished shard.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from sharding.errors import DataError
from sharding.format.manifest import Manifest
from sharding.machine.processes import count_workers, run_jobs
from sharding.making.finish import finish
from sharding.making.ledger import Entry, Ledger
from sharding.making.plan import FolderPlan
from sharding.making.shard_job import Made, ShardJob, finished, is_outdated, make_shard
from sharding.making.source_state import last_modified
from sharding.making.target import open_target
from sharding.progress import Meter, say, track


def build_from_folder(plan: FolderPlan, workers: int, allow_bad: int) -> Manifest:
    """Make the shards that are not finished yet, the index and, last, the manifest.

    Raises:
        DataError: More samples are bad than `allow_bad`: the quarantine lists them, no manifest is written. Or the
            source can no longer be read. Finished shards and the ledger are kept.
        UsageError: The folder holds an unfinished set of another source, or one begun with other options.
        OSError: The set cannot be written.
    """
    ledger, jobs = Ledger(plan.target), plan.jobs()
    ledger.open(plan.terms(plan.source), plan.files)
    _make_all(plan, jobs, workers, allow_bad)
    # All lines are read from the ledger, so that the set is the same whichever run made a shard.
    entries = [_entry(ledger, job) for job in jobs]
    _check_source(plan, jobs, entries, workers)
    return finish(plan, entries, plan.refused, allow_bad, plan.source)


def _make_all(plan: FolderPlan, jobs: Sequence[ShardJob], workers: int, allow_bad: int) -> None:
    """Make the shards that the ledger does not have, and report progress."""
    kept = _find_finished(jobs, workers)
    left = [job for job in jobs if job.name not in kept]
    _announce(plan, kept, len(left))
    if not left:
        return
    bad = len(plan.refused) + sum(made.refused for made in kept.values())
    count, told = count_workers(workers, len(left)), False
    begun = sum(made.source_bytes for made in kept.values())
    results: list[Made] = []
    with closing(run_jobs(make_shard, left, count)) as running, Meter(plan.bytes, begun, f"shard {plan.name}") as meter:
        for made in running:
            results.append(made)
            meter.advance(made.source_bytes)
            if len(results) == count:
                meter.begin_measuring()  # from here on: the start of the processes is over
            elif len(results) == 2 * count < len(left):
                _forecast(plan, meter, results)
            bad += made.refused
            if bad > allow_bad and not told:
                told = True
                say(f"{plan.name}: {bad} bad samples so far, --allow-bad is {allow_bad}; the rest is checked as well")


def _find_finished(jobs: Sequence[ShardJob], workers: int) -> dict[str, Made]:
    """Find the shards that an earlier run finished, by file name."""
    if not jobs or not Ledger(open_target(jobs[0].target)).has_lines():
        return {}
    with ThreadPoolExecutor(count_workers(workers, len(jobs))) as pool:  # hashing releases the interpreter lock
        try:
            found = list(
                track(pool.map(finished, jobs), total=len(jobs), unit="shards", label="check what is finished")
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {job.name: made for job, made in zip(jobs, found, strict=True) if made is not None}


def _announce(plan: FolderPlan, kept: dict[str, Made], num_left: int) -> None:
    already = f" ({len(kept)} of them are finished, {num_left} left)" if kept else ""
    plan.announce(
        f"{plan.samples} samples, {plan.bytes / 1e9:.2f} GB of source files into {len(plan.shards)} shards{already}"
    )


def _forecast(plan: FolderPlan, meter: Meter, results: Sequence[Made]) -> None:
    read, stored = sum(made.source_bytes for made in results), sum(made.stored_bytes for made in results)
    plan.forecast(meter, "source files", round(meter.bytes_left * stored / max(read, 1)))


def _check_source(plan: FolderPlan, jobs: Sequence[ShardJob], entries: Sequence[Entry], workers: int) -> None:
    """Check that all files are still as they were when they were read.

    Raises:
        DataError: Some have changed, so that the set would be neither of the source before nor of the one after.
    """
    with ThreadPoolExecutor(count_workers(workers, len(jobs) or 1)) as pool:  # for network file systems
        outdated = [job for job, changed in zip(jobs, pool.map(is_outdated, jobs, entries), strict=True) if changed]
    if outdated:
        raise DataError(
            f"{plan.root}: the source changed while the set was made: {last_modified(plan.root, outdated[0].files)} "
            f"was modified, or others of {len(outdated)} shards; no manifest was written, the other shards are kept: "
            "run the same command again when nothing writes to it"
        )


def _entry(ledger: Ledger, job: ShardJob) -> Entry:
    entry = ledger.read(job.name)
    if entry is None:
        raise DataError(f"{job.target}: the line of {job.name} is missing from the ledger; run the same command again")
    return entry
