"""Read ahead: while a loader worker decodes a batch, threads fetch the batches that it will be asked for next.

Which ones follows from `training.loading.upcoming`, and their sizes from the index: so the bytes in flight are known
before they are requested. A batch that was not predicted is fetched when it is asked for. What is in a cache on this
machine is read when its turn comes: read ahead, it would have left the processor's own cache by then.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.utils.data import get_worker_info

from sharding.errors import DataError
from sharding.machine.threads import Fetchers
from sharding.reading.reader import Found, SampleReader
from training.launch.whereabouts import note
from training.loading.upcoming import Batch, Plan, freeze_plan

AHEAD_BYTES = 64_000_000
"""Bytes in flight per worker: some 25 views of DIODE, a second of decoding on one core. Over a faulty link (50 ms
latency, 5 % failures), the epochs of `scripts/bench_store.py` waited 13 % of the time with room for 13 views, 4 to 6 %
with 25 or 50."""

THREADS = 8
"""Requests in flight per worker: at 50 ms each, 160 a second, several times what a core decodes. With 16 the epochs of
`scripts/bench_store.py` waited no less, and their first batch was later."""

WAIT_S = 900.0
"""Longest wait for a piece, seconds. A store itself gives up within six minutes, and the read may be queued behind
another one that does."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Samples of a batch that one call reads: one, or neighbours in a shard.

    Attributes:
        reader: Of their set.
        rows: Of the samples, in the index.
        places: Indices of the samples within the batch.
        parts: Names of the parts to read, such as "image".
    """

    reader: SampleReader
    rows: tuple[int, ...]
    places: tuple[int, ...]
    parts: tuple[str, ...]

    @cached_property
    def bytes(self) -> int:
        """Bytes to read."""
        return sum(length for row in self.rows for _, length in self.reader.ranges(row, self.parts))

    @property
    def is_cached(self) -> bool:
        """Whether all samples are in a cache on this machine."""
        return all(self.reader.is_cached(row, self.parts) for row in self.rows)

    def fetch(self) -> list[Found]:
        """Read the samples and compare them with their checksums."""
        return self.reader.read_each(self.rows, self.parts)

    def describe(self) -> str:
        """Name shard and key, for messages."""
        return self.reader.describe(self.rows[0], more=len(self.rows) - 1)


Cut = Callable[[Batch], Iterable[Piece]]
"""Cuts a batch into the pieces in which it is read."""


def cut_batch(
    readers: Sequence[SampleReader], located: Sequence[tuple[int, int]], parts: tuple[str, ...]
) -> Iterator[Piece]:
    """Cut a batch into pieces: neighbours in a shard together, every other sample by itself.

    Args:
        readers: One per set.
        located: Number of the set and row within it, of each sample of the batch.
        parts: Names of the parts to read, such as "image".
    """
    for number, reader in enumerate(readers):
        places = [place for place, (found, _) in enumerate(located) if found == number]
        rows = [located[place][1] for place in places]
        reader.open()  # once, before threads share it
        for group in reader.group_touching(rows, parts):  # indices into `rows`
            yield Piece(
                reader=reader,
                rows=tuple(rows[at] for at in group),
                places=tuple(places[at] for at in group),
                parts=parts,
            )


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A piece that was requested.

    Attributes:
        batch: The batch it belongs to.
        piece: What was requested.
        bytes: Size of the piece.
        answer: Future of the bytes; None for a cached piece, which is read when it is taken.
    """

    batch: Batch
    piece: Piece
    bytes: int
    answer: "Future[list[Found]] | None"

    def drop(self) -> bool:
        """Cancel the request; report whether nothing of it is running or done."""
        return self.answer is None or self.answer.cancel()


class ReadAhead:
    """Fetches the batches of one loader worker, the next ones while it decodes the present one.

    Picklable; each process that reads has its own requests and threads. Requested and not yet taken are at most
    `limit_bytes`, or a single piece that is larger by itself. The batch that was taken comes on top of that. After a
    batch that was not predicted, so do requests that have become unwanted, until they are done.

    Args:
        plan: Returns the upcoming batches. Called in the process that reads, or where the object is pickled on its way
            there: only the training process knows its rank, and only once the process group is there.
        limit_bytes: See above, >= 1.
        threads: Pieces fetched at the same time.
        wait_s: Longest wait for a piece, seconds.
    """

    def __init__(
        self,
        plan: Plan,
        limit_bytes: int = AHEAD_BYTES,
        threads: int = THREADS,
        wait_s: float = WAIT_S,
    ) -> None:
        self._plan = plan
        self.limit_bytes, self.threads, self.wait_s = limit_bytes, threads, wait_s
        self._window: tuple[int, _Window] | None = None  # with the id of the process that it belongs to

    def __getstate__(self) -> dict[str, Any]:
        # The plan is evaluated here, in the training process, which knows its rank; threads and futures stay behind.
        return self.__dict__ | {"_plan": freeze_plan(self._plan), "_window": None}

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that this process has requested and not taken."""
        return self._window[1].bytes_in_flight if self._window else 0

    def take(self, batch: Batch, cut: Cut) -> list[Found]:
        """Return what was read of each sample of a batch; the next batches are requested meanwhile.

        Args:
            batch: (epoch, position) of each sample, all of one epoch.
            cut: Cuts a batch into the pieces in which it is read.

        Raises:
            DataError: A sample of this batch cannot be read, or did not arrive within `wait_s`; names shard and key.
        """
        if not batch:
            return []
        if self._window is None or self._window[0] != os.getpid():  # a forked child has none of the parent's threads
            self._window = os.getpid(), _Window(self)
        return self._window[1].take(batch, cut, self._following(batch))

    def _following(self, batch: Batch) -> Iterator[Batch]:
        # The first position identifies a batch: the plan computes from it what this worker is asked for next.
        worker, (epoch, position) = get_worker_info(), batch[0]
        for places in self._plan().following(position, worker.num_workers if worker else 0):
            yield [(epoch, place) for place in places]


class _Window:
    """The pieces in flight in this process: requested in the order in which they will be taken.

        upcoming pieces     taken | _requests (in flight, or cached) | _next | _planned (cut when they are needed)

    Only the thread that reads uses it, without a lock; the thread pool runs `Piece.fetch` and nothing else.

    Args:
        settings: Limits.
    """

    def __init__(self, settings: ReadAhead) -> None:
        self._limit_bytes, self._wait_s = settings.limit_bytes, settings.wait_s
        self._fetchers: Fetchers[list[Found]] = Fetchers(settings.threads)
        self._requests: deque[_Request] = deque()
        self._unwanted: list[_Request] = []
        self._planned: Iterator[tuple[Batch, Piece]] = iter(())
        self._next: tuple[Batch, Piece] | None = None

    @property
    def bytes_in_flight(self) -> int:
        """Count the bytes requested and not taken, or unwanted and still being fetched."""
        self._unwanted = [request for request in self._unwanted if request.answer and not request.answer.done()]
        # Cached pieces count too, so that the limit also bounds how far ahead the index is looked up.
        return sum(request.bytes for request in (*self._requests, *self._unwanted))

    def take(self, batch: Batch, cut: Cut, following: Iterator[Batch]) -> list[Found]:
        """See `ReadAhead.take`; `following` is used only if `batch` was not predicted."""
        if self._head() != batch:
            self._restart(batch, cut, following)
        found: dict[int, Found] = {}  # place in the batch -> parts
        while self._head() == batch:
            self._request_more()  # before the wait, so that the threads stay busy during it
            request = self._requests.popleft()
            found.update(zip(request.piece.places, self._await(request), strict=True))
        self._request_more()
        # Pieces come set by set, so their places are not in the order of the batch.
        return [found[place] for place in range(len(batch))]

    def _head(self) -> Batch | None:
        """Return the batch that is expected to be taken next, or is partly taken."""
        if self._requests:
            return self._requests[0].batch
        return self._next[0] if self._next else None

    def _restart(self, batch: Batch, cut: Cut, following: Iterator[Batch]) -> None:
        """Drop all requests and begin with `batch`: the loader has begun another iteration."""
        # What a thread has begun to fetch cannot be cancelled; it counts as in flight until it is done.
        self._unwanted += [request for request in self._requests if not request.drop()]
        self._requests.clear()
        batches = (one for group in ((batch,), following) for one in group)
        self._planned = ((one, piece) for one in batches for piece in cut(one))
        self._next = next(self._planned, None)

    def _request_more(self) -> None:
        """Request pieces while they fit the limit; at least one, so that a large piece does not block the rest."""
        in_flight = self.bytes_in_flight
        while self._next is not None:
            batch, piece = self._next
            if self._requests and in_flight + piece.bytes > self._limit_bytes:
                return
            in_flight += piece.bytes
            answer = None if piece.is_cached else self._fetchers.submit(piece.fetch)
            self._requests.append(_Request(batch=batch, piece=piece, bytes=piece.bytes, answer=answer))
            self._next = next(self._planned, None)

    def _await(self, request: _Request) -> list[Found]:
        note(f"reading {request.piece.describe()}")
        if request.answer is None:  # cached when it was requested; fetched now if it was removed since
            return request.piece.fetch()
        try:
            return request.answer.result(self._wait_s)
        except TimeoutError as error:
            if request.answer.done():  # the fetch itself raised a TimeoutError
                raise
            raise DataError(
                f"{request.piece.describe()}: waited {self._wait_s:g} s for {request.bytes} bytes and received "
                "neither data nor an error; is the network up? Run again with --resume"
            ) from error
