"""Making a set: make the planned shards on all cores, then the index, then the manifest.

May be killed at any moment and run again: the ledger says which shards are finished.
"""

import dataclasses
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from sharding.candidate import Refusal
from sharding.errors import DataError
from sharding.files import write_atomically
from sharding.index import INDEX_NAME, Row, build_index, encode_index
from sharding.ledger import Entry, Ledger, remove_partial
from sharding.manifest import MANIFEST_NAME, Manifest
from sharding.meter import Meter, spoken
from sharding.plan import SetPlan
from sharding.progress import say, track
from sharding.shardjob import Made, ShardJob, finished, make_shard
from sharding.target import QUARANTINE_NAME
from sharding.workers import count_workers, run_jobs


def build_set(plan: SetPlan, workers: int, allow_bad: int) -> Manifest:
    """Make the shards that are not finished yet, the index and, last, the manifest.

    Raises:
        DataError: More samples are bad than `allow_bad`: the quarantine says which, no manifest is written. Or the
            source can no longer be read. Finished shards and the ledger are kept.
        UsageError: The folder holds an unfinished set of another source, or begun with other options.
        OSError: The set cannot be written.
    """
    ledger, jobs = Ledger(plan.target), plan.jobs()
    ledger.open(plan.terms)
    _make_all(plan, jobs, workers, allow_bad)
    entries = [_entry(ledger, job) for job in jobs]
    refused = plan.refused + [refusal for entry in entries for refusal in entry.refused]
    _write_quarantine(plan.target / QUARANTINE_NAME, refused)
    _check_refused(plan, refused, allow_bad)
    return _finish(plan, entries, len(refused))


def _make_all(plan: SetPlan, jobs: Sequence[ShardJob], workers: int, allow_bad: int) -> None:
    """Make what the ledger does not have, and tell how it goes."""
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
                meter.begin_measuring()  # the start of processes is behind
            elif len(results) == 2 * count < len(left):
                _expect(plan, meter, results)
            bad += made.refused
            if bad > allow_bad and not told:
                told = True
                say(f"{plan.name}: {bad} bad samples so far, --allow-bad is {allow_bad}; the rest is looked at as well")


def _find_finished(jobs: Sequence[ShardJob], workers: int) -> dict[str, Made]:
    """Shards that an earlier run finished, by file name; hashing them needs no processes."""
    if not jobs or not Ledger(Path(jobs[0].target)).has_lines():
        return {}
    with ThreadPoolExecutor(count_workers(workers, len(jobs))) as pool:
        try:
            found = list(
                track(pool.map(finished, jobs), total=len(jobs), unit="shards", label="check what is finished")
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {job.name: made for job, made in zip(jobs, found, strict=True) if made is not None}


def _announce(plan: SetPlan, kept: dict[str, Made], num_left: int) -> None:
    """Say what is to be done, and how much room there is."""
    free = shutil.disk_usage(plan.target).free
    already = f" ({len(kept)} of them are finished, {num_left} left)" if kept else ""
    say(
        f"{plan.name}: {plan.samples} samples, {plan.bytes / 1e9:.2f} GB of source files "
        f"into {len(plan.shards)} shards{already}; {free / 1e9:.1f} GB free"
    )


def _expect(plan: SetPlan, meter: Meter, results: Sequence[Made]) -> None:
    """Say what the first shards let expect of the others: time and room."""
    read, stored = sum(made.source_bytes for made in results), sum(made.stored_bytes for made in results)
    needed, free = meter.bytes_left * stored / max(read, 1), shutil.disk_usage(plan.target).free
    say(
        f"{plan.name}: about {spoken(meter.seconds_left)} to go at {meter.rate / 1e6:.1f} MB/s of source files, "
        f"{needed / 1e9:.2f} GB to be written, {free / 1e9:.1f} GB free"
        + ("; THAT IS NOT ENOUGH: make room meanwhile" if needed > free else "")
    )


def _entry(ledger: Ledger, job: ShardJob) -> Entry:
    entry = ledger.read(job.name)
    if entry is None:
        raise DataError(f"{job.target}: the line of {job.name} vanished from the ledger; run the same command again")
    return entry


def _check_refused(plan: SetPlan, refused: Sequence[Refusal], allow_bad: int) -> None:
    if len(refused) <= allow_bad:
        return
    reasons = "; ".join(
        f"{count} x {reason}" for reason, count in Counter(refusal.reason for refusal in refused).most_common(3)
    )
    raise DataError(
        f"{len(refused)} samples are bad, --allow-bad is {allow_bad}: {reasons}; "
        f"see {plan.target / QUARANTINE_NAME}; no manifest was written, finished shards are kept: run again with a "
        "larger --allow-bad to leave these out, or mend the source and make the set in a new folder"
    )


def _finish(plan: SetPlan, entries: Sequence[Entry], num_refused: int) -> Manifest:
    rows = [row for entry in entries for row in entry.rows]
    if not rows:
        raise DataError(f"none of {plan.samples} samples could be used; see {plan.target / QUARANTINE_NAME}")
    index = encode_index(build_index(rows))
    write_atomically(plan.target / INDEX_NAME, index)
    manifest = Manifest(
        name=plan.name,
        dataset=plan.recipe.dataset,
        samples=len(rows),
        quarantined=num_refused,
        codecs=_codecs(rows, max(entry.depth_error for entry in entries)),
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(entry.file for entry in entries),
        **plan.header,
    )
    _remove_strays(plan, manifest)
    write_atomically(plan.target / MANIFEST_NAME, manifest.encode())
    return manifest


def _write_quarantine(path: Path, refused: Sequence[Refusal]) -> None:
    if refused:
        lines = (
            json.dumps(dataclasses.asdict(refusal), sort_keys=True)
            for refusal in sorted(refused, key=lambda r: (r.key, r.files))
        )
        write_atomically(path, ("\n".join(lines) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def _remove_strays(plan: SetPlan, manifest: Manifest) -> None:
    """Remove shards and temporary files of this set that an interrupted run left."""
    known = {Path(shard.name).name for shard in manifest.shards}
    ours = re.compile(rf"{re.escape(plan.name)}-\d{{6}}\.tar(\.zst)?")
    remove_partial(plan.target / "shards")
    for path in (plan.target / "shards").iterdir():
        if ours.fullmatch(path.name) and path.name not in known:
            path.unlink()


def _codecs(rows: Sequence[Row], depth_error: float) -> dict[str, Any]:
    """How each part is encoded, with counts, and the depth error that was measured."""
    counts = Counter((part, ext) for row in rows for part, (ext, _) in row.parts.items())
    codecs: dict[str, Any] = {}
    for (part, ext), count in sorted(counts.items()):
        codecs.setdefault(part, {"samples": {}})["samples"][ext] = count
    if "depth" in codecs:
        codecs["depth"]["max_relative_error"] = depth_error
    return codecs
