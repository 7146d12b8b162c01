"""Making a set from an archive: read once, on all cores; nothing is written but the set, and what waits long.

May be killed at any moment and run again: the ledger says which shards are finished, and where the next one begins.
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
from sharding.machine.processes import count_workers, map_ahead, open_pool
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
"""What one worker gets at a time: bytes of samples, or of the archive that went by, whichever are more."""

ENCODED_AHEAD_BYTES = 128 << 20
"""What is read ahead of what is written, counted in the same way."""


PackedBatch = list[PackedSample | Refusal]


@dataclass(frozen=True, kw_only=True)
class _Batch:
    samples: tuple[Joined, ...]
    boundary: Boundary | None
    bytes: int


def build_from_archive(
    plan: ArchivePlan, source: ByteSource, fingerprint: Fingerprint, workers: int, allow_bad: int
) -> Manifest:
    """Make the shards that are not finished yet, the index and, last, the manifest.

    Raises:
        DataError: The archive is damaged, cut off, lost, or the wrong one; or more samples are bad than `allow_bad`.
            No manifest is written then. Finished shards and the ledger are kept.
        UsageError: The folder holds an unfinished set of another archive, or begun with other options.
        OSError: The set cannot be written.
    """
    ledger = Ledger(plan.target)
    ledger.open(plan.terms({"fingerprint": fingerprint.head}))
    digest = publishes_md5(plan.recipe.dataset)
    position, entries = ArchiveBuild(plan, source, fingerprint, ledger, digest, workers).make_shards()
    from sharding.making.finish import finish  # pandas is for the end

    facts = {
        "archive": fingerprint.name,
        "bytes": fingerprint.bytes,
        "fingerprint": fingerprint.whole,
        "members": position.members,
        "skipped": position.skipped,
        "md5": position.md5 or None,
        "published": recognise(plan.recipe.dataset, fingerprint.name, fingerprint.bytes, position.md5),
    }
    return finish(plan, entries, position.refused, allow_bad, facts)


class ArchiveBuild:
    """Makes the shards of a set that are not finished yet.

    Args:
        plan: Of the set.
        source: The archive.
        fingerprint: Of it.
        ledger: Of the set, opened.
        digest: Whether the MD5 of the archive is wanted.
        workers: Processes or threads that encode; 0 for one a core.
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
        self._kept: dict[int, Entry] = {}
        self._ahead: deque[ResumePoint] = deque()  # of the boundaries that were read and are not saved yet

    def make_shards(self) -> tuple[ResumePoint, list[Entry]]:
        """Read the archive from where an earlier run stood to its end.

        Returns:
            Where it ended, and the lines of all shards.

        Raises:
            DataError: The archive is damaged, cut off, lost, or another one than it was.
            OSError: The set cannot be written.
        """
        position = self._ledger.read_resume_point()
        check_unchanged(position, self._fingerprint, self._plan.target.address)
        self._kept = self._find_finished()
        if not all(number in self._kept for number in range(position.shard)):
            position = ResumePoint()  # a finished shard was lost: what comes before the gap is read, but not made again
        if not position.ended:
            position = self._read_on(position)
        return position, [self._kept[number] for number in range(position.shard)]

    def _find_finished(self) -> dict[int, Entry]:
        """Lines of the shards that an earlier run finished, by number; reads these shards."""
        lines = self._ledger.read_all(self._plan.shard_name)
        if not lines:
            return {}
        with ThreadPoolExecutor(self._workers) as pool:
            checks = pool.map(self._ledger.is_whole, lines.values())
            whole = list(track(checks, total=len(lines), unit="shards", label="check what is finished"))
        return {number: entry for (number, entry), kept in zip(lines.items(), whole, strict=True) if kept}

    def _read_on(self, position: ResumePoint) -> ResumePoint:
        with ExitStack() as stack:
            joiner, position = self._restore(position)
            stack.callback(joiner.close)
            self._announce(position)
            pool = stack.enter_context(self._open_pool())
            archive = stack.enter_context(self._open_archive(position))
            meter = stack.enter_context(
                Meter(self._source.size, archive.compressed_position, f"shard {self._plan.name}")
            )
            arrivals = Arrivals(archive, joiner, self._plan.layout, position)
            batches = self._batches(arrivals, archive, position, meter)
            packed = map_ahead(partial(self._submit, pool), batches, lambda batch: batch.bytes, ENCODED_AHEAD_BYTES)
            results = _in_order(stack.enter_context(closing(packed)))
            return self._write(results, position, joiner, meter)

    def _restore(self, position: ResumePoint) -> tuple[Joiner, ResumePoint]:
        """A joiner with all that waited at the position, and that position."""
        for start in (position, ResumePoint()):  # the start if what waited on disk is lost
            spool = Spool(2 * HELD_BYTES, self._plan.target.restore_spool(start.segments))
            joiner = Joiner(self._plan.layout.parse, self._plan.layout.needed, spool)
            finished = (key for number in range(start.shard) for key in self._kept[number].keys)
            if joiner.restore(start.waiting, finished):
                break
            joiner.close()
        return joiner, start

    def _open_archive(self, position: ResumePoint) -> AbstractContextManager[Archive]:
        """The archive at a position. What an earlier run downloaded is not downloaded again only to be hashed."""
        digest = self._digest and (
            position.enter == 0 or bool(position.md5_state) or isinstance(self._source, LocalFile)
        )
        return open_archive(
            self._source, position.enter, position.seek_point, self._workers, digest, position.md5_state
        )

    def _open_pool(self) -> AbstractContextManager[Executor]:
        """Threads where there is little to do but to compress, which needs no interpreter; else processes."""
        if self._workers == 1 or self._plan.recipe.is_light(self._plan.layout.needed):
            return _open_threads(self._workers)
        return open_pool(self._workers, pack_all.__module__)

    def _submit(self, pool: Executor, batch: _Batch) -> Future[PackedBatch]:
        return pool.submit(pack_all, batch.samples, self._plan.recipe, self._plan.compression)

    def _batches(self, arrivals: Arrivals, archive: Archive, position: ResumePoint, meter: Meter) -> Iterator[_Batch]:
        """Samples in batches that end where shards end; without those whose shard is finished."""
        number, samples, wanted = position.shard, list[Joined](), 0
        begin, used = archive.position, archive.compressed_position
        for event in arrivals.cut(self._plan.shard_bytes, self._fingerprint):
            boundary = event if isinstance(event, Boundary) else None
            if isinstance(event, Joined):
                samples.append(event)
                wanted += event.candidate.bytes
            size = max(wanted, archive.position - begin)
            if size >= BATCH_BYTES or boundary:
                if boundary:
                    self._ahead.append(boundary.position)
                yield _Batch(samples=self._missing(number, samples), boundary=boundary, bytes=size)
                number = boundary.position.shard if boundary else number
                meter.advance(archive.compressed_position - used)
                samples, wanted, begin, used = [], 0, archive.position, archive.compressed_position

    def _missing(self, number: int, samples: list[Joined]) -> tuple[Joined, ...]:
        """The samples, unless their shard is finished.

        Raises:
            DataError: It is finished, and others are in it.
        """
        if number not in self._kept:
            return tuple(samples)
        known = self._kept[number].keys
        if strange := [joined.candidate.key for joined in samples if joined.candidate.key not in known]:
            raise DataError(
                f"{self._fingerprint.name}: {strange[0]} should be in the finished {self._plan.shard_name(number)}, "
                "and is not: the archive is another one than it was; make the set anew in another folder"
            )
        return ()

    def _write(
        self, results: Iterator[PackedSample | Refusal | Boundary], position: ResumePoint, joiner: Joiner, meter: Meter
    ) -> ResumePoint:
        """Write shard after shard, each with its line and the position after it."""
        told = False
        while not position.ended:
            position = self._write_shard(position.shard, results)
            self._plan.target.save_spool(position.segments)
            self._ledger.write_resume_point(position)
            joiner.spool.tidy(set().union(*(coming.segments for coming in self._ahead)))
            self._ahead.popleft()
            if not told and position.shard > 1 and meter.rate > 0 and not position.ended:
                told = True
                self._forecast(meter)
        return position

    def _write_shard(self, number: int, results: Iterator[PackedSample | Refusal | Boundary]) -> ResumePoint:
        """Write up to the next boundary, if anything comes before it; return where the next shard begins."""
        first = next(results)
        if isinstance(first, Boundary):
            return first.position
        result: PackedSample | Refusal | Boundary = first
        name = self._plan.shard_name(number)
        with open_shard(self._plan.target, name, self._plan.compression) as shard:
            while not isinstance(result, Boundary):
                if isinstance(result, Refusal):
                    shard.refused.append(result)
                else:
                    shard.add(result)
                result = next(results)
        self._kept[number] = shard.entry(self._plan.target.tag(f"shards/{name}"))
        self._ledger.write(self._kept[number])
        return result.position

    def _announce(self, position: ResumePoint) -> None:
        already = f" ({position.shard} shards of it are finished)" if position.shard else ""
        self._plan.announce(
            f"{self._fingerprint.name}, {self._source.size / 1e9:.2f} GB{self._hoped_for()}, into shards of "
            f"{self._plan.shard_bytes / 1e6:.0f} MB of source files{already}"
        )

    def _hoped_for(self) -> str:
        """Return how many samples the published archive of this size holds, in words."""
        published = by_size(self._plan.recipe.dataset, self._source.size)
        return f", some {published.samples} samples if it is the published {published.name}" if published else ""

    def _forecast(self, meter: Meter) -> None:
        stored = sum(entry.file.bytes for entry in self._kept.values())
        done = self._source.size - meter.bytes_left
        more = meter.bytes_left / max(done, 1)
        self._plan.forecast(meter, "archive", round(more * stored), samples=round(more * self._num_kept))

    @property
    def _num_kept(self) -> int:
        return sum(entry.file.samples for entry in self._kept.values())


def _in_order(batches: Iterable[tuple[_Batch, PackedBatch]]) -> Iterator[PackedSample | Refusal | Boundary]:
    """What became of each sample, and boundaries."""
    for batch, packed in batches:
        yield from packed
        if batch.boundary:
            yield batch.boundary


@contextmanager
def _open_threads(workers: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(workers, "pack")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
