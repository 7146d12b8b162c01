"""Whole shards in sequence through a `webdataset` pipeline. The only file that imports webdataset.

For commands that write a shard, for stores without range requests, and for users of webdataset. A loader asks for
samples by position, as with the index; but here a position means the next sample of a worker's stream. A request out of
turn opens the stream again and skips the samples before it.
"""

import copy
import functools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import webdataset
import zstandard
from torch.utils.data import get_worker_info
from webdataset.autodecode import DecodingError

from sharding.codecs.parts import IMAGE_EXTS
from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.names import member_name
from sharding.format.sample import Sample, valid_pixels
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.reading.webdataset_decoder import webdataset_decoder
from sharding.stores.address import is_remote
from training.launch.world import World
from training.loading.decode import decode_rgb
from training.loading.shared_columns import share, share_column
from training.loading.upcoming import Plan, Position, freeze_plan
from training.streaming.member_walk import ADVICE, walk_members
from training.streaming.options import Streaming
from training.streaming.shard_stream import ShardOpener
from training.streaming.shares import Place, Stretch, cut_ring, find_place, lane_span

Grouped = dict[str, Any]
"""A sample in webdataset's form: extension -> payload or decoded value; and names such as `__key__`."""

_ID, _EXTS = "__id__", "__exts__"  # webdataset's decoder leaves names that begin with __ alone


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A key, the image file of that sample, and where it is: shard and key, for messages."""

    key: str
    image: bytes
    origin: str


class StreamedSet:
    """The shards of a set, or subset, each streamed from its beginning to its last wanted sample. Picklable.

    Args:
        opened: The set.
        parts: Names of the parts to take of each sample, such as "image".
        pipe: See `ShardOpener`.
        first_id: Added to the ids of its samples.
    """

    def __init__(self, opened: ShardSet, parts: Sequence[str], pipe: str | None = None, first_id: int = 0) -> None:
        self.sizes = [int(size) for size in opened.shard_sizes]
        self._reader = share(opened.reader)
        self._opener = ShardOpener(url=opened.address, pipe=pipe)
        self._shards, self._parts = opened.manifest.shards, tuple(parts)
        self._starts = np.cumsum([0, *self.sizes])  # (S + 1,) first row of each shard
        self._ids = share_column(opened.ids + first_id)

    @property
    def remote(self) -> bool:
        """Whether the set is read over a network."""
        return is_remote(self._reader.url)

    def stream(self, stretch: Stretch) -> Iterator[Grouped]:
        """Yield the samples of a stretch of a shard, not decoded.

        Raises:
            DataError: The shard is damaged, or lacks a member that the index names; names the shard.
        """
        first = int(self._starts[stretch.shard])
        rows = range(first + stretch.begin, first + stretch.end)
        places = {name: (row, part) for row in rows for part, name in self._members(row).items()}
        crcs = {name: int(self._reader.columns[f"{part}_crc32c"][row]) for name, (row, part) in places.items()}
        shard = self._shards[stretch.shard]
        payloads = shard.compression == "none"  # a frame of a .tar.zst has a checksum of its own
        found: dict[int, dict[str, bytes]] = {row: {} for row in rows}
        with _naming(f"shard {shard.name}"), self._opener.open(shard, self._reader.store) as tar:
            for name, data in walk_members(tar, crcs, payloads):
                row, part = places[name]
                found[row][part] = data
                if len(found[row]) == len(self._members(row)):
                    yield self._group(row, found.pop(row), shard.name)
            if found:
                raise DataError(f"key {self._reader.key(min(found))}: expected one sample with its parts, found none")

    def _group(self, row: int, parts: dict[str, bytes], shard: str) -> Grouped:
        """Return a sample in webdataset's form, with its id, and for each part the extension under which it is."""
        exts = {part: _ext(part, self._reader.ext(row, part)) for part in parts}
        sample = {"__key__": self._reader.key(row), "__url__": shard, _ID: int(self._ids[row]), _EXTS: exts}
        return sample | {exts[part]: data for part, data in parts.items()}

    def _members(self, row: int) -> dict[str, str]:
        """Map the parts of a sample that are wanted, and that it has, to the names of their members."""
        exts = {part: self._reader.ext(row, part) for part in self._parts}
        return {part: member_name(self._reader.key(row), part, ext) for part, ext in exts.items() if ext}


class ShardRing:
    """The shards of one or more sets in sequence, in another order in each epoch; see `training.streaming.shares`.

    Picklable.

    Args:
        sets: An epoch takes all their samples, except the tail.
        shuffle_buffer: Samples among which the next one is drawn.
        seed: Of the order.
        encoded: Whether images are left as the files they are.
    """

    def __init__(self, sets: Sequence[StreamedSet], shuffle_buffer: int, seed: int, *, encoded: bool = False) -> None:
        self.sets, self._buffer, self._seed, self.encoded = tuple(sets), shuffle_buffer, seed, encoded
        self._shards = [(number, shard) for number, one in enumerate(sets) for shard in range(len(one.sizes))]
        self._sizes = [size for one in sets for size in one.sizes]

    def seeded(self, seed: int) -> "ShardRing":
        """Return the same shards in the order of another seed."""
        changed = copy.copy(self)
        changed._seed = seed
        return changed

    def __len__(self) -> int:
        return sum(self._sizes)

    @property
    def remote(self) -> bool:
        """Whether any of the sets is read over a network."""
        return any(one.remote for one in self.sets)

    def pipeline(self, epoch: int, span: range, skip: int = 0) -> webdataset.DataPipeline:
        """Make the webdataset pipeline of a part of an epoch's ring, shuffled and decoded.

        Args:
            epoch: Counts from 0.
            span: The part, see `training.streaming.shares`.
            skip: Samples to skip at the start, after the shuffle; they are read but not decoded.
        """
        stretches = cut_ring(self._sizes, self._seed, epoch, span)
        # Of seed, epoch and start of the span: a stream that is opened again has the same order, others have others.
        word = np.random.SeedSequence((self._seed, epoch, span.start)).generate_state(1, np.uint64)
        draw = random.Random(int(word[0]))
        return webdataset.DataPipeline(
            lambda: chain.from_iterable(map(self._stream, stretches)),
            # The first sample is drawn once a quarter of the buffer is full, instead of all of it.
            webdataset.shuffle(self._buffer, initial=-(-self._buffer // 4), rng=draw),
            lambda samples: islice(samples, skip, None),
            # webdataset's own decoders, which unpickle, are left out.
            webdataset.decode(_decode_all_but_images if self.encoded else _decode_part, pre=[], post=[]),
        )

    def _stream(self, stretch: Stretch) -> Iterator[Grouped]:
        number, shard = self._shards[stretch.shard]
        return self.sets[number].stream(Stretch(shard=shard, begin=stretch.begin, end=stretch.end))


class SampleStreams:
    """The streams of one rank, of which a loader worker reads one: decoded samples by position.

    Picklable; each process that reads has its own stream.

    Args:
        ring: The source of the samples.
        plan: Returns this rank's part of an epoch.
    """

    def __init__(self, ring: ShardRing, plan: Plan) -> None:
        self.ring, self._plan = ring, plan
        # The open stream, with the epoch and the place of its next sample.
        self._open: tuple[tuple[int, Place], Iterator[Grouped]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": freeze_plan(self._plan), "_open": None}

    def take(self, positions: Sequence[Position]) -> list[tuple[Sample, int]]:
        """Return the sample at each position, and its id.

        Raises:
            DataError: A shard is damaged or cannot be read; names the shard.
        """
        return [(_to_sample(found), int(found[_ID])) for found in self._take(positions)]

    def take_encoded(self, positions: Sequence[Position]) -> list[tuple[Encoded, int]]:
        """Return the image file of the sample at each position, and its id; of a ring whose images are encoded.

        Raises:
            DataError: A shard is damaged or cannot be read; names the shard.
        """
        return [(_to_encoded(found), int(found[_ID])) for found in self._take(positions)]

    def _take(self, positions: Sequence[Position]) -> list[Grouped]:
        return [self._next(epoch, position) for epoch, position in positions]

    def _next(self, epoch: int, position: int) -> Grouped:
        worker = get_worker_info()
        plan, lanes = self._plan(), worker.num_workers if worker else 1
        place = find_place(plan, position, lanes)
        if self._open is None or self._open[0] != (epoch, place):
            self._open = None  # closes the shard that the previous stream was reading
            span = lane_span(plan, place.lane, lanes)
            self._open = (epoch, place), iter(self.ring.pipeline(epoch, span, place.turn))
        stream = self._open[1]
        self._open = None  # a stream that failed has ended
        sample = _decoded(stream)
        self._open = (epoch, Place(lane=place.lane, turn=place.turn + 1)), stream
        return sample


def stream(
    set: ShardSet | str, *, epoch: int = 0, seed: int = 0, shuffle_buffer: int = 200, pipe: str | None = None
) -> webdataset.DataPipeline:
    """Make a `webdataset` pipeline over a set, for your own loop: each process and worker has equally many samples.

    Args:
        set: An open set, or its folder or URL. `depthstream index` makes a set of tars from elsewhere.
        epoch: Counts from 0; make another pipeline for each epoch.
        seed: Of the order.
        shuffle_buffer: Samples among which the next one is drawn.
        pipe: Shell command that writes a shard; see `training.streaming.shard_stream.ShardOpener`.

    Returns:
        Decoded samples in webdataset's form: `__key__`, and extension -> the member as decoded by
        `sharding.webdataset_decoder`. Each sample of the set is given at most once over all processes and workers;
        fewer than ranks x workers are left out.

    Example:
        >>> for sample in webdataset.WebLoader(stream("SET"), batch_size=None, num_workers=2):   # doctest: +SKIP
        ...     sample["__key__"], sample["png"].shape
    """
    opened = set if isinstance(set, ShardSet) else ShardSet(set)
    streaming = Streaming(shuffle_buffer=shuffle_buffer, pipe=pipe)
    parts = [part for part in DEPTH_PARTS if (opened.rows[f"{part}_ext"] != "").any()]
    ring = ShardRing([StreamedSet(opened, parts, streaming.pipe)], streaming.shuffle_buffer, seed)
    return webdataset.DataPipeline(functools.partial(_equal_share, ring, epoch))


def _equal_share(ring: ShardRing, epoch: int) -> Iterator[Grouped]:
    """Iterate over the part of an epoch that this process and worker has."""
    worker, world = get_worker_info(), World.current()
    count, number = (worker.num_workers, worker.id) if worker else (1, 0)
    # All parts are of one length: a rank with fewer samples would leave the others waiting in a collective.
    each, place = len(ring) // (world.size * count), world.rank * count + number
    return iter(ring.pipeline(epoch, range(place * each, (place + 1) * each)))


def _ext(part: str, ext: str) -> str:
    """Return webdataset's name for a part: all that follows the first dot of its file name, in lower case."""
    return member_name("", part, ext).lstrip(".").lower()


def _decode_part(ext: str, data: bytes) -> Any:
    """Decode a part with our decoder alone.

    Raises:
        DataError: It is no part of ours, or fails to decode.
    """
    decoded = decode_rgb(data) if ext.lstrip(".") in IMAGE_EXTS else webdataset_decoder(ext, data)
    if decoded is None:
        raise DataError(f"member {shorten(ext)}: expected an image, depth or valid part, found an extension of none")
    return decoded


def _decode_all_but_images(ext: str, data: bytes) -> Any:
    return data if ext.lstrip(".") in IMAGE_EXTS else _decode_part(ext, data)


def _decoded(stream: Iterator[Grouped]) -> Grouped:
    """Return the next sample of a stream."""
    try:
        return next(stream)
    except DecodingError as error:
        raise DataError(f"shard {error.url}, key {error.key}: {error.__cause__}; {ADVICE}") from error


def _to_sample(decoded: Grouped) -> Sample:
    """Convert a sample from webdataset's form to that of the indexed reader."""
    parts = _parts_of(decoded)
    depth, valid = parts.get("depth"), parts.get("valid")
    if depth is not None:  # a set indexed from other tars may have no valid part, or one that follows other rules
        valid = valid_pixels(depth, valid)
    return Sample(key=decoded["__key__"], image=parts["image"], depth=depth, valid=valid)


def _to_encoded(found: Grouped) -> Encoded:
    return Encoded(key=found["__key__"], image=_parts_of(found)["image"], origin=_describe(found))


def _parts_of(found: Grouped) -> dict[str, Any]:
    """Return the parts of a sample by their names.

    Raises:
        DataError: There is no image.
    """
    parts = {part: found[ext] for part, ext in found[_EXTS].items()}
    if "image" not in parts:
        raise DataError(f"{_describe(found)}: expected an image, found none")
    return parts


def _describe(found: Grouped) -> str:
    return f"shard {found['__url__']}, key {found['__key__']}"


@contextmanager
def _naming(shard: str) -> Iterator[None]:
    """Turn the errors that are raised for a damaged or unreadable shard into a DataError naming the shard."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{shard}: {error}") from error
    except (zstandard.ZstdError, OSError) as error:
        raise DataError(
            f"{shard}: expected a whole tar, found a damaged or truncated one: {error}; {ADVICE}"
        ) from error
