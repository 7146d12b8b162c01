"""Making a set: encode the planned shards on all cores, then index, then manifest.

Each shard is made whole by one process, so the bytes do not depend on how many there are.
"""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.candidate import Candidate, Refusal
from sharding.encode import Encoded, Recipe, encode
from sharding.errors import DataError
from sharding.files import open_atomically, write_atomically
from sharding.index import INDEX_NAME, Row, build_index, encode_index
from sharding.manifest import MANIFEST_NAME, Manifest, ShardFile
from sharding.progress import say, track
from sharding.reader import member_name
from sharding.shard import SUFFIX, Compression, ShardWriter, Span
from sharding.source import FolderSource

QUARANTINE_NAME = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """All that a process needs to make one shard."""

    root: str
    path: str
    compression: Compression
    recipe: Recipe
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What making one shard gave."""

    file: ShardFile
    rows: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    depth_error: float = 0.0


def make_shard(job: ShardJob) -> ShardResult:
    """Encode the candidates of a shard and write it atomically; bad ones are refused, not written."""
    source, path = FolderSource(job.root), Path(job.path)
    rows: list[Row] = []
    refused: list[Refusal] = []
    worst = 0.0
    with open_atomically(path) as file:
        writer = ShardWriter(file, job.compression)
        for candidate in job.candidates:
            try:
                encoded = encode(source, candidate, job.recipe)
            except DataError as error:
                refused.append(
                    Refusal(key=candidate.key, files=tuple(f.name for f in candidate.files.values()), reason=str(error))
                )
                continue
            worst = max(worst, encoded.depth_error)
            rows.append(_add(writer, candidate, encoded, path.name))
        writer.close()
    with path.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    stored = ShardFile(
        name=f"shards/{path.name}",
        samples=len(rows),
        bytes=path.stat().st_size,
        sha256=digest,
        compression=job.compression,
    )
    return ShardResult(file=stored, rows=rows, refused=refused, depth_error=worst)


def _add(writer: ShardWriter, candidate: Candidate, encoded: Encoded, shard: str) -> Row:
    spans: dict[str, tuple[str, Span]] = {}
    for part, (ext, payload) in encoded.parts.items():
        spans[part] = ext, writer.add(member_name(candidate.key, part, ext), payload)
    return Row(
        key=candidate.key,
        shard=shard,
        split=candidate.split,
        scene=candidate.scene,
        scan=candidate.scan,
        scene_type=candidate.scene_type,
        height=encoded.height,
        width=encoded.width,
        depth=encoded.depth,
        parts=spans,
    )


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """A set that is to be made.

    Attributes:
        root: Source folder.
        target: Folder of the set.
        name: Of the set.
        recipe: How samples are encoded.
        compression: Of the shards.
        shards: Planned candidates of each shard.
        refused: What pairing already refused.
        header: Manifest fields that are known before: split, made, source.
    """

    root: str
    target: Path
    name: str
    recipe: Recipe
    compression: Compression
    shards: list[list[Candidate]]
    refused: list[Refusal]
    header: dict[str, Any]

    @property
    def samples(self) -> int:
        """Planned samples."""
        return sum(map(len, self.shards))

    @property
    def bytes(self) -> int:
        """Source bytes."""
        return sum(candidate.bytes for shard in self.shards for candidate in shard)

    def jobs(self) -> list[ShardJob]:
        """A job for each shard."""
        paths = [
            self.target / "shards" / f"{self.name}-{number:06d}{SUFFIX[self.compression]}"
            for number in range(len(self.shards))
        ]
        return [
            ShardJob(
                root=self.root,
                path=str(path),
                compression=self.compression,
                recipe=self.recipe,
                candidates=tuple(shard),
            )
            for path, shard in zip(paths, self.shards, strict=True)
        ]


def build_set(plan: SetPlan, workers: int, allow_bad: int) -> Manifest:
    """Make all shards, the index and, last, the manifest.

    Raises:
        DataError: More samples are bad than `allow_bad`; the quarantine says which, the shards are kept, no manifest is
            written.
    """
    _announce(plan)
    results = list(track(_run(plan.jobs(), workers), total=len(plan.shards), unit="shards", label=f"shard {plan.name}"))
    refused = plan.refused + [refusal for result in results for refusal in result.refused]
    _write_quarantine(plan.target / QUARANTINE_NAME, refused)
    if len(refused) > allow_bad:
        reasons = "; ".join(
            f"{count} x {reason}" for reason, count in Counter(refusal.reason for refusal in refused).most_common(3)
        )
        raise DataError(
            f"{len(refused)} samples are bad, --allow-bad is {allow_bad}: {reasons}; "
            f"see {plan.target / QUARANTINE_NAME}; "
            "no manifest was written: mend the source, or run again with a larger --allow-bad"
        )
    return _finish(plan, results, len(refused))


def _finish(plan: SetPlan, results: Sequence[ShardResult], num_refused: int) -> Manifest:
    rows = [row for result in results for row in result.rows]
    if not rows:
        raise DataError(f"none of {plan.samples} samples could be used; see {plan.target / QUARANTINE_NAME}")
    index = encode_index(build_index(rows))
    write_atomically(plan.target / INDEX_NAME, index)
    manifest = Manifest(
        name=plan.name,
        dataset=plan.recipe.dataset,
        samples=len(rows),
        quarantined=num_refused,
        codecs=_codecs(rows, max(result.depth_error for result in results)),
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(result.file for result in results),
        **plan.header,
    )
    _remove_strays(plan, manifest)
    write_atomically(plan.target / MANIFEST_NAME, manifest.encode())
    return manifest


def _run(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardResult]:
    """Results in the order of the jobs."""
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1:
        yield from map(make_shard, jobs)
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("forkserver")) as pool:
        yield from pool.map(make_shard, jobs)


def _announce(plan: SetPlan) -> None:
    """Say what is to be done, and how much room there is."""
    (plan.target / "shards").mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.target).free
    say(
        f"{plan.name}: {plan.samples} samples, {plan.bytes / 1e9:.2f} GB of source files "
        f"into {len(plan.shards)} shards; {free / 1e9:.1f} GB free"
    )


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
    ours = re.compile(rf"\.?{re.escape(plan.name)}-\d{{6}}\.tar(\.zst)?(\.\d+\.tmp)?")
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
