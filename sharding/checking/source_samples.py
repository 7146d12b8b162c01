"""All samples of a folder or archive, with access to the bytes of their files."""

from collections.abc import Iterator
from contextlib import closing

from sharding.archives.archive import open_archive
from sharding.archives.fingerprint import take_fingerprint
from sharding.archives.url_source import open_source
from sharding.progress import Meter
from sharding.sources.arrivals import HELD_BYTES, Arrivals
from sharding.sources.folder import FolderSource, fingerprint
from sharding.sources.joiner import Joiner, Payloads
from sharding.sources.layout import Layout
from sharding.sources.pairing import Candidate, Refusal
from sharding.sources.published import publishes_md5
from sharding.sources.source import Readable
from sharding.sources.spool import Spool


class FolderSamples:
    """The samples of a folder, sorted by key.

    Args:
        root: The folder.
        layout: Layout of the data set.
        without: Folder of the set, which may be below the source.

    Attributes:
        fingerprint: Hash of names and sizes of the files that decide what is made.
        refused: Files that make no sample; complete once all samples were read.
        md5: "": a folder has none.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: str, layout: Layout, without: str | None = None) -> None:
        self._source, self._layout = FolderSource(root, without), layout
        self._files = self._source.list()
        self.fingerprint, self.md5 = fingerprint(layout.wanted(self._files)), ""
        self.refused: list[Refusal] = []

    def __iter__(self) -> Iterator[tuple[Candidate, Readable]]:
        """Yield each sample with the source that reads its files.

        Raises:
            DataError: There is none.
        """
        pairing = self._layout.pair(self._files)
        self.refused = pairing.refused
        with Meter(sum(one.bytes for one in pairing.candidates), 0, "compare") as meter:
            for candidate in pairing.candidates:
                yield candidate, self._source
                meter.advance(candidate.bytes)


class ArchiveSamples:
    """The samples of an archive, in the order in which they are complete.

    Args:
        address: File or URL.
        layout: Layout of the data set.
        dataset: Its name.

    Attributes:
        fingerprint: Hash of size and ends.
        refused: Files that make no sample; complete once all samples were read.
        md5: MD5 of the compressed file, once all samples were read; "" if none is published for the data set.

    Raises:
        DataError: There is no such archive.
    """

    def __init__(self, address: str, layout: Layout, dataset: str) -> None:
        self._address, self._layout, self._digest = address, layout, publishes_md5(dataset)
        with closing(open_source(address)) as source:
            self.fingerprint = take_fingerprint(source, address).whole
        self.refused: list[Refusal] = []
        self.md5 = ""

    def __iter__(self) -> Iterator[tuple[Candidate, Readable]]:
        """Yield each sample with its files in memory.

        Raises:
            DataError: The archive is damaged, truncated, or holds no sample.
        """
        # Without a folder: a comparison is not resumed, so nothing must be left on disk.
        joiner = Joiner(self._layout.parse, self._layout.needed, Spool(2 * HELD_BYTES))
        with (
            closing(open_source(self._address)) as source,
            closing(joiner),
            open_archive(source, digest=self._digest) as archive,
            Meter(source.size, 0, "compare") as meter,
        ):
            at = 0
            for _, joined in Arrivals(archive, joiner, self._layout).read():
                if joined is not None:
                    yield joined.candidate, Payloads(joined)
                meter.advance(archive.compressed_position - at)
                at = archive.compressed_position
            meter.advance(source.size - at)  # what follows the last member
            self.refused = joiner.refused + joiner.leftovers()
            self.md5 = archive.md5()
