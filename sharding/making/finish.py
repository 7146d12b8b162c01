"""The end of making a set: quarantine, index and, last, the manifest, from the lines of the ledger."""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharding.errors import DataError
from sharding.format.index import INDEX_NAME, Row, build_index, check_readable, encode_index
from sharding.format.manifest import MANIFEST_NAME, Manifest
from sharding.format.names import QUARANTINE_NAME
from sharding.making.ledger import Entry
from sharding.making.plan import SetPlan
from sharding.making.target import SetTarget
from sharding.sources.pairing import Refusal


def finish(
    plan: SetPlan, entries: Sequence[Entry], refused: Sequence[Refusal], allow_bad: int, source: dict[str, Any]
) -> Manifest:
    """Write quarantine, index and manifest of a set whose shards are all there.

    Args:
        plan: Plan of the set.
        entries: A line of the ledger for each shard, in order.
        refused: Files that were refused before shards were made.
        allow_bad: Maximum number of refusals.
        source: Facts of the source, for the manifest.

    Raises:
        DataError: More samples are bad than `allow_bad`: the quarantine lists them, no manifest is written. Or another
            run has taken the place over. Or the set has more samples or shards than are read.
        OSError: The set cannot be written.
    """
    plan.target.check_held([(entry.file.name, entry.file.bytes, entry.tag) for entry in entries])
    refused = [*refused, *(refusal for entry in entries for refusal in entry.refused)]
    _write_quarantine(plan.target, refused)
    # After the quarantine is written, because the error refers to it.
    _check_refused(plan, refused, allow_bad)
    rows = [row for entry in entries for row in entry.rows]
    if not rows:
        raise DataError(f"none of {len(refused)} samples could be used; see {plan.target.address}/{QUARANTINE_NAME}")
    # Index before manifest, which holds its hash: no manifest ever refers to an index that is not there.
    index = encode_index(build_index(rows))
    manifest = Manifest(
        name=plan.name,
        dataset=plan.recipe.dataset,
        split=str(plan.made.get("split", "")),
        tool=plan.tool,
        made=plan.made,
        source=source,
        samples=len(rows),
        quarantined=len(refused),
        codecs=_codecs(rows, max(entry.depth_error for entry in entries)),
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(entry.file for entry in entries),
    )
    encoded = check_readable(manifest, index)
    plan.target.write(INDEX_NAME, index)
    _remove_strays(plan, manifest)  # before the manifest, which makes the set a finished one
    plan.target.write_last(MANIFEST_NAME, encoded)
    return manifest


def _check_refused(plan: SetPlan, refused: Sequence[Refusal], allow_bad: int) -> None:
    if len(refused) <= allow_bad:
        return
    reasons = "; ".join(
        f"{count} x {reason}" for reason, count in Counter(refusal.reason for refusal in refused).most_common(3)
    )
    raise DataError(
        f"{len(refused)} samples are bad, --allow-bad is {allow_bad}: {reasons}; "
        f"see {plan.target.address}/{QUARANTINE_NAME}; no manifest was written, finished shards are kept: run again "
        "with a larger --allow-bad to leave these out, or repair the source and make the set in a new folder"
    )


def _write_quarantine(target: SetTarget, refused: Sequence[Refusal]) -> None:
    if refused:
        lines = (
            json.dumps(dataclasses.asdict(refusal), sort_keys=True)
            for refusal in sorted(refused, key=lambda r: (r.key, r.files))
        )
        target.write(QUARANTINE_NAME, ("\n".join(lines) + "\n").encode())
    else:
        target.remove(QUARANTINE_NAME)


def _remove_strays(plan: SetPlan, manifest: Manifest) -> None:
    """Remove shards and temporary files of this set that an interrupted run left."""
    known = {Path(shard.name).name for shard in manifest.shards}
    ours = re.compile(rf"{re.escape(plan.name)}-\d{{6}}\.tar(\.zst)?")
    plan.target.begin()  # removes temporary files
    for name in plan.target.names("shards"):
        if ours.fullmatch(name) and name not in known:
            plan.target.remove(f"shards/{name}")


def _codecs(rows: Sequence[Row], depth_error: float) -> dict[str, Any]:
    """Count samples by part and extension, and record the measured depth error."""
    counts = Counter((part, ext) for row in rows for part, (ext, _) in row.parts.items())
    codecs: dict[str, Any] = {}
    for (part, ext), count in sorted(counts.items()):
        codecs.setdefault(part, {"samples": {}})["samples"][ext] = count
    if "depth" in codecs:
        codecs["depth"]["max_relative_error"] = depth_error
    return codecs
