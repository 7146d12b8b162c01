"""Reading ahead: while a loader worker decodes a batch, threads fetch those that it will be asked for next.

Which ones follows from `training.loading.upcoming`, and how many bytes they have from the index: so the bytes in flight
are known before they are asked for. A batch that was not foreseen is fetched when it is asked for. What a cache on this
machine keeps is read when its turn comes: read ahead it would only be cold again in the processor's own cache.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from torch.utils.data import get_worker_info

from sharding.errors import DataError
from sharding.machine.threads import Fetchers
from sharding.reading.reader import SampleReader, StoredParts
from training.loading.upcoming import Batch, Upcoming

AHEAD_BYTES = 64_000_000
"""Bytes in flight of a worker: some 25 views of DIODE, a second's work of its core. Behind a link that fails (50 ms,
5 %), the epochs of `scripts/bench_store.py` waited 13 % of the time with room for 13 views, 4 to 6 % with 25 or 50."""

THREADS = 8
"""Requests in flight of a worker: at 50 ms each, 160 a second, several times what a core decodes. With 16 the epochs of
`scripts/bench_store.py` waited no less, and their first batch came later."""

WAIT_S = 900.0
"""The longest wait for a piece. A store gives up by itself within six minutes, and one such read may be in the way."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Samples of a batch that one call reads: one, or neighbours in a shard.

    Attributes:
        reader: Of their set.
        rows: Of the samples.
        places: Where they stand in the batch.
        parts: What is read of them.
    """

    reader: SampleReader
    rows: tuple[int, ...]
    places: tuple[int, ...]
    parts: tuple[str, ...]

    @functools.cached_property
    def bytes(self) -> int:
        """Bytes that are read."""
        return sum(length for row in self.rows for _, length in self.reader.ranges(row, self.parts))

    @property
    def is_cached(self) -> bool:
        """Whether all of them are in a cache on this machine."""
        return all(self.reader.is_cached(row, self.parts) for row in self.rows)

    def fetch(self) -> list[StoredParts]:
        """Read them, and compare them with their checksums."""
        return self.reader.read_stored_checked(self.rows, self.parts)

    def describe(self) -> str:
        """Shard and key, for people."""
        return self.reader.describe(self.rows[0], more=len(self.rows) - 1)


Cut = Callable[[Batch], Iterable[Piece]]
"""What a batch is read in."""


def cut_batch(
    readers: Sequence[SampleReader], located: Sequence[tuple[int, int]], parts: tuple[str, ...]
) -> Iterator[Piece]:
    """Cut a batch into pieces: neighbours in a shard together, every other sample for itself.

    Args:
        readers: Of the sets.
        located: Number of the set and row within it, of each sample of the batch.
        parts: What is read of them.
    """
    for number, reader in enumerate(readers):
        places = [place for place, (found, _) in enumerate(located) if found == number]
        rows = [located[place][1] for place in places]
        reader.open()  # once, before threads share it
        for group in reader.group_touching(rows, parts):
            yield Piece(
                reader=reader,
                rows=tuple(rows[at] for at in group),
                places=tuple(places[at] for at in group),
                parts=parts,
            )


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A piece that was asked for.

    Attributes:
        batch: That it is of.
        piece: What was asked for.
        bytes: How much that is.
        answer: The bytes, once they are here; None for a piece that is kept, and read when it is taken.
    """

    batch: Batch
    piece: Piece
    bytes: int
    answer: "Future[list[StoredParts]] | None"

    def drop(self) -> bool:
        """Want it no longer; whether nothing of it is under way."""
        return self.answer is None or self.answer.cancel()


class ReadAhead:
    """Fetches the batches of one loader worker, the next ones while it decodes the present one.

    Picklable; each process that reads has requests and threads of its own. What is requested or waits to be taken has
    at most `limit_bytes`, or is a single piece that has more by itself. The batch that was taken comes on top of it;
    and for a moment, after a batch that was not foreseen, requests under way that nobody wants any more.

    Args:
        plan: Gives what lies ahead. Called in the process that reads, or where the reader is pickled on its way there:
            only the training process knows its rank, and not before the process group is there.
        limit_bytes: See above, >= 1.
        threads: Pieces that are fetched at once.
        wait_s: How long to wait for a piece.
    """

    def __init__(
        self,
        plan: Callable[[], Upcoming],
        limit_bytes: int = AHEAD_BYTES,
        threads: int = THREADS,
        wait_s: float = WAIT_S,
    ) -> None:
        self._plan = plan
        self.limit_bytes, self.threads, self.wait_s = limit_bytes, threads, wait_s
        self._window: tuple[int, _Window] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": functools.partial(_as_it_is, self._plan()), "_window": None}

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that this process has requested and not taken."""
        return self._window[1].bytes_in_flight if self._window else 0

    def take(self, batch: Batch, cut: Cut) -> list[StoredParts]:
        """The stored parts of each sample of a batch, checked; the next batches are asked for meanwhile.

        Args:
            batch: (epoch, position) of each sample, of one epoch.
            cut: What a batch is read in.

        Raises:
            DataError: A sample of this batch is damaged or cannot be read, or did not come within `wait_s`; names shard
                and key.
        """
        if not batch:
            return []
        if self._window is None or self._window[0] != os.getpid():
            self._window = os.getpid(), _Window(self)
        return self._window[1].take(batch, cut, self._following(batch))

    def _following(self, batch: Batch) -> Iterator[Batch]:
        worker, (epoch, position) = get_worker_info(), batch[0]
        for places in self._plan().following(position, worker.num_workers if worker else 0):
            yield [(epoch, place) for place in places]


class _Window:
    """The pieces in flight in this process: requested in the order in which they will be taken.

    Args:
        settings: Limits.
    """

    def __init__(self, settings: ReadAhead) -> None:
        self._limit_bytes, self._wait_s = settings.limit_bytes, settings.wait_s
        self._fetchers: Fetchers[list[StoredParts]] = Fetchers(settings.threads)
        self._requests: deque[_Request] = deque()
        self._unwanted: list[_Request] = []
        self._planned: Iterator[tuple[Batch, Piece]] = iter(())
        self._next: tuple[Batch, Piece] | None = None

    @property
    def bytes_in_flight(self) -> int:
        """Of what was requested and not taken, or is no longer wanted and still under way."""
        self._unwanted = [request for request in self._unwanted if request.answer and not request.answer.done()]
        return sum(request.bytes for request in (*self._requests, *self._unwanted))

    def take(self, batch: Batch, cut: Cut, following: Iterator[Batch]) -> list[StoredParts]:
        """See `ReadAhead.take`; `following` is looked at only if `batch` was not foreseen."""
        if self._head() != batch:
            self._begin_anew(batch, cut, following)
        found: dict[int, StoredParts] = {}
        while self._head() == batch:
            self._request_more()
            request = self._requests.popleft()
            found.update(zip(request.piece.places, self._await(request), strict=True))
        self._request_more()
        return [found[place] for place in range(len(batch))]

    def _head(self) -> Batch | None:
        """The batch that is expected to be taken next, or is not wholly taken."""
        if self._requests:
            return self._requests[0].batch
        return self._next[0] if self._next else None

    def _begin_anew(self, batch: Batch, cut: Cut, following: Iterator[Batch]) -> None:
        """Another iteration: of what was requested nothing lies ahead."""
        self._unwanted += [request for request in self._requests if not request.drop()]
        self._requests.clear()
        batches = (one for group in ((batch,), following) for one in group)
        self._planned = ((one, piece) for one in batches for piece in cut(one))
        self._next = next(self._planned, None)

    def _request_more(self) -> None:
        """Ask for pieces while they fit; for one at least, that a large one does not stop the flow."""
        in_flight = self.bytes_in_flight
        while self._next is not None:
            batch, piece = self._next
            if self._requests and in_flight + piece.bytes > self._limit_bytes:
                return
            in_flight += piece.bytes
            answer = None if piece.is_cached else self._fetchers.submit(piece.fetch)
            self._requests.append(_Request(batch=batch, piece=piece, bytes=piece.bytes, answer=answer))
            self._next = next(self._planned, None)

    def _await(self, request: _Request) -> list[StoredParts]:
        if request.answer is None:
            return request.piece.fetch()
        try:
            return request.answer.result(self._wait_s)
        except TimeoutError as error:
            if request.answer.done():
                raise
            raise DataError(
                f"{request.piece.describe()}: waited {self._wait_s:g} s for "
                f"{request.bytes} bytes that were requested, and neither they nor an error came; is the network up? "
                "Run again with --resume"
            ) from error


def _as_it_is(ahead: Upcoming) -> Upcoming:
    return ahead
