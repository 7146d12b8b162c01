"""Make one shard: encode its candidates, write it, and then its line of the ledger.

One process makes all of a shard, so that the bytes do not depend on the number of processes.
"""

import errno
import os
from dataclasses import dataclass

from sharding.errors import DataError
from sharding.format.choices import Compression
from sharding.format.shard import Packer
from sharding.making.encode import Recipe
from sharding.making.ledger import Entry, Ledger
from sharding.making.open_shard import open_shard
from sharding.making.packing import pack, refuse
from sharding.making.source_state import changed_at, source_state
from sharding.making.target import open_target
from sharding.sources.folder import FolderSource
from sharding.sources.pairing import Candidate
from sharding.sources.source import SourceFile

_OF_THE_MACHINE = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
"""Read errors of the machine or mount, not of the file: no sample is refused because of them."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """All that a process needs to make one shard.

    Attributes:
        root: Source folder.
        target: Folder or URL of the set.
        name: File name of the shard.
        compression: Compression of the shard.
        recipe: How samples are encoded.
        candidates: Samples to put into it, in this order.
    """

    root: str
    target: str
    name: str
    compression: Compression
    recipe: Recipe
    candidates: tuple[Candidate, ...]

    @property
    def bytes(self) -> int:
        """Source bytes."""
        return sum(candidate.bytes for candidate in self.candidates)

    @property
    def files(self) -> list[SourceFile]:
        """Source files."""
        return [file for candidate in self.candidates for file in candidate.files.values()]


@dataclass(frozen=True, kw_only=True)
class Made:
    """The contribution of a finished shard to the progress of its set: source bytes, stored bytes, refused samples."""

    source_bytes: int
    stored_bytes: int
    refused: int


def make_shard(job: ShardJob) -> Made:
    """Encode the candidates of a shard and write it atomically; bad ones are refused, not written.

    Raises:
        DataError: The source as a whole can no longer be read.
        OSError: The shard cannot be written.
    """
    source, target, packer = _open_source(job.root), open_target(job.target), Packer(job.compression)
    read = source_state(job.root, job.files)
    with open_shard(target, job.name, job.compression) as shard:
        for candidate in job.candidates:
            try:
                shard.add(pack(source, candidate, job.recipe, packer))
            except DataError as error:
                _check_source(job.root, error)
                shard.refused.append(refuse(candidate, error))
    # Times of refused files let a later run see that one was repaired.
    refused_at = changed_at(job.root, [name for refusal in shard.refused for name in refusal.files])
    # The shard is in its place now. Only then its line: a line always refers to a whole shard.
    entry = shard.entry(target.tag(f"shards/{job.name}"), refused_at, read)
    Ledger(target).write(entry)
    return progress(job, entry)


def progress(job: ShardJob, entry: Entry) -> Made:
    """Return the contribution of the finished shard `entry` of `job` to the progress of the set."""
    return Made(source_bytes=job.bytes, stored_bytes=entry.file.bytes, refused=len(entry.refused))


def finished(job: ShardJob) -> Made | None:
    """Check whether an earlier run finished the shard; None if it is to be made.

    It is finished if the ledger has its line, the file has the hash in that line, and the source files have not changed
    since: one of a refused sample that was repaired must be read again, be it that it may only be read now.
    """
    ledger = Ledger(open_target(job.target))
    entry = ledger.read(job.name)
    if entry is None or not ledger.is_whole(entry) or changed_at(job.root, entry.refused_at) != entry.refused_at:
        return None
    return None if is_outdated(job, entry) else progress(job, entry)


def is_outdated(job: ShardJob, entry: Entry) -> bool:
    """Tell whether source files of a finished shard have changed since they were read."""
    return bool(entry.read) and entry.read != source_state(job.root, job.files)  # earlier versions did not record it


def _open_source(root: str) -> FolderSource:
    try:
        return FolderSource(root)
    except DataError as error:
        raise _lost(root, error) from error


def _check_source(root: str, error: DataError) -> None:
    """Stop if the source is lost: a listed file is gone, a mount is lost, or file handles ran out.

    Raises:
        DataError: It is lost.
    """
    cause: BaseException | None = error
    while cause is not None:  # readers raise a DataError from the OSError that they met
        if isinstance(cause, OSError) and (cause.errno in _OF_THE_MACHINE or _vanished(cause)):
            raise _lost(root, cause) from error
        cause = cause.__cause__


def _lost(root: str, reason: BaseException) -> DataError:
    return DataError(
        f"{root}: the source can no longer be read: {reason}; finished shards are kept: "
        "restore it as it was and run the same command again"
    )


def _vanished(error: OSError) -> bool:
    """Tell whether a listed file is gone; not a dangling link, which was listed as one."""
    return error.errno == errno.ENOENT and error.filename is not None and not os.path.lexists(error.filename)
