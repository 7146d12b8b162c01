"""Make a set from an archive: read once, on all cores; nothing is written but the set, and files that wait long.

    archive -> arrivals -> batches -> workers encode -> results in the order of the archive -> shards

Reading runs ahead of writing by up to `ENCODED_AHEAD_BYTES`. The run may be killed at any moment and started again:
the ledger has a line for each finished shard, and the resume point at which the next one begins.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from sharding.archives.archive import Archive, open_archive
from sharding.archives.byte_source import ByteSource, LocalFile
from sharding.archives.fingerprint import Fingerprint
from sharding.errors import DataError
from sharding.format.manifest import Manifest
from sharding.machine.pool import WorkerPool
from sharding.machine.processes import count_workers, map_ahead
from sharding.making.ledger import Entry, Ledger
from sharding.making.open_shard import open_shard
from sharding.making.packing import PackedSample, pack_all
from sharding.making.plan import ArchivePlan
from sharding.progress import Meter, track
from sharding.sources.arrivals import HELD_BYTES, Arrivals, Boundary
from sharding.sources.joiner import Joined, Joiner
from sharding.sources.pairing import Refusal
from sharding.sources.published import by_size, publishes_md5, recognise
from sharding.sources.resume_point import ResumePoint, check_unchanged
from sharding.sources.spool import Spool

BATCH_BYTES = 4 << 20
"""Size of the batch that a worker gets: bytes of its samples or of the archive read for it, whichever is more."""

ENCODED_AHEAD_BYTES = 128 << 20
"""Maximum size of the batches that are read and not written yet, counted in the same way."""

PackedBatch = list[PackedSample | Refusal]


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Samples for one worker, the boundary that follows them, if a shard ends there, and bytes: weight, and read."""

    samples: tuple[Joined, ...]
    boundary: Boundary | None
    bytes: int
    read: int


def build_from_archive(
    plan: ArchivePlan, source: ByteSource, fingerprint: Fingerprint, workers: int, allow_bad: int
) -> Manifest:
    """Make the shards that are not finished yet, the index and, last, the manifest.

    Raises:
        DataError: The archive is damaged, truncated, lost, or the wrong one; or more samples are bad than `allow_bad`.
            No manifest is written then. Finished shards and the ledger are kept.
        UsageError: The folder holds an unfinished set of another archive, or one begun with other options.
        OSError: The set cannot be written.
    """
    ledger = Ledger(plan.target)
    ledger.open(plan.terms({"fingerprint": fingerprint.head}))
    digest = publishes_md5(plan.recipe.dataset)
    point, entries = ArchiveBuild(plan, source, fingerprint, ledger, digest, workers).make_shards()
    if source.has_changed():
        ledger.forget_lines()  # nothing tells which shards are of the archive before
        raise DataError(
            f"{source.name}: the archive was written to while the set was made: no manifest was written; run the same "
            "command again when the archive is whole"
        )
    from sharding.making.finish import finish  # imports pandas, which only the end needs

    facts = {
        "archive": fingerprint.name,
        "bytes": fingerprint.bytes,
        "fingerprint": fingerprint.whole,
        "members": point.members,
        "skipped": point.skipped,
        "md5": point.md5 or None,
        "published": recognise(plan.recipe.dataset, fingerprint.name, fingerprint.bytes, point.md5),
    }
    return finish(plan, entries, point.refused, allow_bad, facts)


class ArchiveBuild:
    """Makes the shards of a set that are not finished yet.

    Args:
        plan: Plan of the set.
        source: The archive.
        fingerprint: Fingerprint of the archive.
        ledger: Ledger of the set, opened.
        digest: Whether the MD5 of the archive is wanted.
        workers: Processes or threads that encode; 0 for one per core.
    """

    def __init__(
        self,
        plan: ArchivePlan,
        source: ByteSource,
        fingerprint: Fingerprint,
        ledger: Ledger,
        digest: bool,
        workers: int,
    ) -> None:
        self._plan, self._source, self._fingerprint, self._ledger = plan, source, fingerprint, ledger
        self._digest = digest
        self._workers = count_workers(workers, 1 << 30)
        self._finished: dict[int, Entry] = {}
        self._ahead: deque[ResumePoint] = deque()  # boundaries that were read and are not saved yet

    def make_shards(self) -> tuple[ResumePoint, list[Entry]]:
        """Read the archive from where an earlier run stopped to its end.

        Returns:
            The resume point at its end, and the lines of all shards.

        Raises:
            DataError: The archive is damaged, truncated, lost, or another one than it was.
            OSError: The set cannot be written.
        """
        point = self._ledger.read_resume_point()
        check_unchanged(point, self._fingerprint, self._plan.target.address)
        self._finished = self._find_finished()
        if not all(number in self._finished for number in range(point.shard)):
            point = ResumePoint()  # a finished shard is lost: read from the start, but make only what is missing
        if not point.ended:
            point = self._read_on(point)
        return point, [self._finished[number] for number in range(point.shard)]

    def _find_finished(self) -> dict[int, Entry]:
        """Find the lines of the shards that an earlier run finished, by number; local shards are read and hashed."""
        lines = self._ledger.read_all(self._plan.shard_name)
        if not lines:
            return {}
        with ThreadPoolExecutor(self._workers) as pool:  # hashing releases the interpreter lock
            checks = pool.map(self._ledger.is_whole, lines.values())
            whole = list(track(checks, total=len(lines), unit="shards", label="check what is finished"))
        return {number: entry for (number, entry), kept in zip(lines.items(), whole, strict=True) if kept}

    def _read_on(self, point: ResumePoint) -> ResumePoint:
        # Left in reverse order: the results first, so that nothing is submitted to a pool that is closed.
        with ExitStack() as stack:
            joiner, point = self._restore(point)
            stack.callback(joiner.close)
            self._announce(point)
            pool = stack.enter_context(self._open_pool())
            archive = stack.enter_context(self._open_archive(point))
            meter = stack.enter_context(
                Meter(self._source.size, archive.compressed_position, f"shard {self._plan.name}")
            )
            arrivals = Arrivals(archive, joiner, self._plan.layout, point)
            # Only encoding runs in the pool. On this thread the writer takes a result, which reads the archive further
            # and submits batches up to the limit.
            batches = self._batches(arrivals, archive, point)
            packed = map_ahead(partial(self._submit, pool), batches, lambda batch: batch.bytes, ENCODED_AHEAD_BYTES)
            results = _in_order(stack.enter_context(closing(packed)), meter)
            return self._write(results, point, joiner, meter)

    def _restore(self, point: ResumePoint) -> tuple[Joiner, ResumePoint]:
        """Return a joiner with all that waited on disk at the point, and the point from which to read."""
        for start in (point, ResumePoint()):  # the start of the archive if files that waited on disk are lost
            spool = Spool(2 * HELD_BYTES, self._plan.target.restore_spool(start.segments))
            joiner = Joiner(self._plan.layout.parse, self._plan.layout.needed, spool)
            finished = (key for number in range(start.shard) for key in self._finished[number].keys)
            if joiner.restore(start.waiting, finished):
                break
            joiner.close()
        return joiner, start

    def _open_archive(self, point: ResumePoint) -> AbstractContextManager[Archive]:
        """Open the archive at a point; without MD5 if only hashing would need bytes to be downloaded again."""
        digest = self._digest and (point.enter == 0 or bool(point.md5_state) or isinstance(self._source, LocalFile))
        return open_archive(self._source, point.enter, point.seek_point, self._workers, digest, point.md5_state)

    def _open_pool(self) -> AbstractContextManager[Executor]:
        """Start threads if there is little to do but compress, which releases the interpreter lock; else processes."""
        if self._workers == 1 or self._plan.recipe.is_light(self._plan.layout.needed):
            return _open_threads(self._workers)
        return WorkerPool(self._workers)

    def _submit(self, pool: Executor, batch: _Batch) -> Future[PackedBatch]:
        return pool.submit(pack_all, batch.samples, self._plan.recipe, self._plan.compression)

    def _batches(self, arrivals: Arrivals, archive: Archive, point: ResumePoint) -> Iterator[_Batch]:
        """Yield samples in batches that end where shards end, without those of finished shards."""
        number, samples, wanted = point.shard, list[Joined](), 0
        begin, used = archive.position, archive.compressed_position  # plain and compressed bytes read before the batch
        for event in arrivals.cut(self._plan.shard_bytes, self._fingerprint):
            boundary = event if isinstance(event, Boundary) else None
            if isinstance(event, Joined):
                samples.append(event)
                wanted += event.candidate.bytes
            size = max(wanted, archive.position - begin)  # a long stretch without samples must advance, too
            if size >= BATCH_BYTES or boundary:
                if boundary:  # on record before the writer can get it
                    self._ahead.append(boundary.point)
                read = archive.compressed_position - used
                yield _Batch(samples=self._missing(number, samples), boundary=boundary, bytes=size, read=read)
                number = boundary.point.shard if boundary else number
                samples, wanted, begin, used = [], 0, archive.position, archive.compressed_position

    def _missing(self, number: int, samples: list[Joined]) -> tuple[Joined, ...]:
        """Return the samples if their shard has to be made, () if it is finished.

        Raises:
            DataError: It is finished, and has not all of them.
        """
        if number not in self._finished:
            return tuple(samples)
        known = self._finished[number].keys
        if strange := [joined.candidate.key for joined in samples if joined.candidate.key not in known]:
            raise DataError(
                f"{self._fingerprint.name}: {strange[0]} should be in the finished {self._plan.shard_name(number)}, "
                "and is not: the archive has changed; make the set again in another folder"
            )
        return ()

    def _write(
        self, results: Iterator[PackedSample | Refusal | Boundary], point: ResumePoint, joiner: Joiner, meter: Meter
    ) -> ResumePoint:
        """Write shard after shard, each with its line and then the point after it."""
        told = False
        while not point.ended:
            point = self._write_shard(point.shard, results)
            # Segments are saved before the point that refers to them, and removed only when no saved or coming point
            # does: the first of `_ahead` is the one that was just written.
            self._plan.target.save_spool(point.segments)
            self._ledger.write_resume_point(point)
            joiner.spool.tidy(set().union(*(coming.segments for coming in self._ahead)))
            self._ahead.popleft()
            if not told and point.shard > 1 and meter.rate > 0 and not point.ended:
                told = True
                self._forecast(meter)
        return point

    def _write_shard(self, number: int, results: Iterator[PackedSample | Refusal | Boundary]) -> ResumePoint:
        """Write the results up to the next boundary, if there are any; return where the next shard begins."""
        first = next(results)
        if isinstance(first, Boundary):
            return first.point  # nothing in it, or a finished shard, whose samples were left out
        result: PackedSample | Refusal | Boundary = first
        name = self._plan.shard_name(number)
        with open_shard(self._plan.target, name, self._plan.compression) as shard:
            while not isinstance(result, Boundary):
                if isinstance(result, Refusal):
                    shard.refused.append(result)
                else:
                    shard.add(result)
                result = next(results)
        # The shard is in its place; its line follows, and then (`_write`) the point: see `ledger`.
        self._finished[number] = shard.entry(self._plan.target.tag(f"shards/{name}"))
        self._ledger.write(self._finished[number])
        return result.point

    def _announce(self, point: ResumePoint) -> None:
        already = f" ({point.shard} shards of it are finished)" if point.shard else ""
        self._plan.announce(
            f"{self._fingerprint.name}, {self._source.size / 1e9:.2f} GB{self._hoped_for()}, into shards of "
            f"{self._plan.shard_bytes / 1e6:.0f} MB of source files{already}"
        )

    def _hoped_for(self) -> str:
        """Return how many samples the published archive of this size holds, in words."""
        published = by_size(self._plan.recipe.dataset, self._source.size)
        return f", some {published.samples} samples if it is the published {published.name}" if published else ""

    def _forecast(self, meter: Meter) -> None:
        stored = sum(entry.file.bytes for entry in self._finished.values())
        done = self._source.size - meter.bytes_left
        # The rest of the archive is taken to be like what was read of it.
        more = meter.bytes_left / max(done, 1)
        self._plan.forecast(meter, "archive", round(more * stored), samples=round(more * self._num_samples))

    @property
    def _num_samples(self) -> int:
        return sum(entry.file.samples for entry in self._finished.values())


def _in_order(
    batches: Iterable[tuple[_Batch, PackedBatch]], meter: Meter
) -> Iterator[PackedSample | Refusal | Boundary]:
    """Yield the result of each sample, and the boundaries between them; count a batch once its samples are written."""
    for batch, packed in batches:
        yield from packed
        meter.advance(batch.read)  # not when it was read: up to `ENCODED_AHEAD_BYTES` wait for the writer
        if batch.boundary:
            yield batch.boundary


@contextmanager
def _open_threads(workers: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(workers, "pack")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
