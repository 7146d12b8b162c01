"""The measurement of `profile_codecs.py`: candidates take turns on a group of images or depth maps, in shard frames."""

import io
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec_bench.candidates import DEPTH_CODECS, IMAGE_CODECS, VALID_CODECS, Codec
from codec_bench.views import (
    CodecsConfig,
    Item,
    archive_kilobytes,
    count_whole_views,
    depth_groups,
    photographs,
    toy_groups,
)
from sharding.format.shard import ShardWriter, unpack_member


@dataclass(kw_only=True)
class CodecRow:
    """The figures of a candidate on a group, for a view of --height x --width pixels.

    Attributes:
        kilobytes: Stored size (1 kB = 1000 bytes).
        encode_ms, decode_ms: CPU time of each repeat, the zstd frame included.
        error: Images: largest difference in grey levels. Depth: largest relative difference over valid pixels.
        psnr_db: Peak signal-to-noise ratio of lossy images; None otherwise.
        exact: Whether decoding returns every bit, those of invalid pixels included.
        missing: Why it was not measured; empty if it was.
    """

    kilobytes: float = math.nan
    encode_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    error: float = math.nan
    psnr_db: float | None = None
    exact: bool = False
    missing: str = ""

    @property
    def decode(self) -> float:
        """Return the median time to decode a view, ms."""
        return statistics.median(self.decode_ms)


Rows = dict[str, CodecRow]


def measure_candidates(codecs: Sequence[Codec], items: list[Item], config: CodecsConfig, truth: int = 0) -> Rows:
    """Measure candidates on a group; they take turns, so that other load on the machine affects all of them alike.

    Args:
        codecs: The candidates.
        items: The group.
        config: Options of the measurement.
        truth: Position in an item of the array that decoding must return.
    """
    views = count_whole_views(items, config)
    rows, stored = {codec.name: CodecRow() for codec in codecs}, {}
    for codec in codecs:  # untimed: it also warms up
        try:
            stored[codec.name] = store_all(codec, items)
            measure_error(rows[codec.name], load_all(codec, stored[codec.name]), items, truth)
            rows[codec.name].kilobytes = sum(len(one) for one in stored[codec.name]) / views / 1000
        except ImportError:
            rows[codec.name].missing = "needs imagecodecs: pip install imagecodecs"
        except (ValueError, RuntimeError) as error:
            rows[codec.name].missing = f"refused the data: {error}"
    measured = [codec for codec in codecs if not rows[codec.name].missing]
    for _, codec in product(range(config.repeats), measured):
        row, frames = rows[codec.name], stored[codec.name]
        row.encode_ms.append(time_cpu_ms(partial(store_all, codec, items)) / views)
        row.decode_ms.append(time_cpu_ms(partial(load_all, codec, frames)) / views)
    return rows


def store_all(codec: Codec, items: list[Item]) -> list[bytes]:
    """Encode the items, each as the frame that a shard stores."""
    frames = []
    for item in items:
        ShardWriter(shard := io.BytesIO()).add(codec.member, codec.encode(*item))
        frames.append(shard.getvalue())
    return frames


def load_all(codec: Codec, frames: list[bytes]) -> list[NDArray[Any]]:
    """Decode the frames as a reader does: unpack the zstd frame, then decode its payload."""
    return [codec.decode(bytes(unpack_member(frame, codec.member, "zstd"))) for frame in frames]


def time_cpu_ms(work: Callable[[], object]) -> float:
    """Measure the CPU time of this process for some work, ms: unlike wall-clock time, it excludes other load."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def measure_error(row: CodecRow, decoded: list[NDArray[Any]], items: list[Item], truth: int) -> None:
    """Compare decoded arrays with the originals; set `exact`, `error` and `psnr_db`."""
    wanted = [np.ascontiguousarray(item[truth]) for item in items]
    row.exact = all(map(same, decoded, wanted))
    if wanted[0].dtype == np.float32:
        row.error = max(
            float((np.abs(one[valid].astype(np.float64) - depth[valid]) / depth[valid]).max(initial=0))
            for one, (depth, valid) in zip(decoded, items, strict=True)
        )
        return
    # int16, because differences of uint8 wrap; of a valid mask they are -1, 0 or 1.
    errors = [one.astype(np.int16) - other for one, other in zip(decoded, wanted, strict=True)]
    row.error = float(max(np.abs(one).max() for one in errors))
    if row.error and wanted[0].dtype == np.uint8:
        squares = statistics.fmean(float(np.square(one, dtype=np.float64).mean()) for one in errors)
        row.psnr_db = 10 * math.log10(255**2 / squares)  # squares: mean squared error over all images


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays agree in every bit; for bool in truth value, because True may be any nonzero byte."""
    if one.dtype == np.bool_:
        return np.array_equal(one, other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@dataclass(frozen=True, kw_only=True)
class CodecGroup:
    """The rows of one kind of part, measured on one group.

    Attributes:
        part: "image", "depth" or "valid".
        name: Of the group, such as "toy world".
        items: How many were measured.
        archive_kb: kB (1000 bytes) of a view in the published archive; 0 for valid, which depth includes.
        rows: By name of the candidate.
    """

    part: str
    name: str
    items: int
    archive_kb: float
    rows: Rows


def measure_groups(config: CodecsConfig) -> Iterator[CodecGroup]:
    """Measure every part of every group."""
    images, depth = photographs(config), depth_groups(config)  # first, so that a wrong pattern fails at once
    toy_images, toy_depth = toy_groups(config)
    images, depth = toy_images | images, toy_depth | depth
    plan = [("image", images, IMAGE_CODECS, 0), ("depth", depth, DEPTH_CODECS, 0), ("valid", depth, VALID_CODECS, 1)]
    for part, groups, codecs, truth in plan:
        for name, items in groups.items():
            rows = measure_candidates(codecs, items, config, truth)
            archive = archive_kilobytes(items, config) if part != "valid" else 0.0
            yield CodecGroup(part=part, name=name, items=len(items), archive_kb=archive, rows=rows)
