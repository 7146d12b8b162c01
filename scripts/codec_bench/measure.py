"""How `profile_codecs.py` measures: candidates take turns on a group of images or depth maps, in frames of a shard."""

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
from codec_bench.views import CodecsConfig, Item, archive_kilobytes, count_views, depth_groups, photographs, toy_groups
from sharding.format.shard import ShardWriter, unpack_member


@dataclass(kw_only=True)
class CodecRow:
    """What was measured of a candidate on a group, a view of --height x --width pixels.

    Attributes:
        kilobytes: What is stored (1 kB = 1000 bytes).
        encode_ms, decode_ms: Of each repeat, the zstd frame included.
        error: Images: largest difference in grey levels. Depth: largest relative difference over valid pixels.
        psnr_db: Of images; None if they are exact.
        exact: Every bit came back, those of invalid pixels included.
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
        """Median time to decode a view, ms."""
        return statistics.median(self.decode_ms)


Rows = dict[str, CodecRow]


def measure(codecs: Sequence[Codec], items: list[Item], config: CodecsConfig, truth: int = 0) -> Rows:
    """Measure candidates on a group, taking turns, so that a busy machine is busy for all of them.

    Args:
        codecs: The candidates.
        items: The group.
        config: Options of the measurement.
        truth: Which array of an item must come back.
    """
    views = count_views(items, config)
    rows, stored = {codec.name: CodecRow() for codec in codecs}, {}
    for codec in codecs:
        try:
            stored[codec.name] = store_all(codec, items)
            check(rows[codec.name], load_all(codec, stored[codec.name]), items, truth)
            rows[codec.name].kilobytes = sum(len(one) for one in stored[codec.name]) / views / 1000
        except ImportError:
            rows[codec.name].missing = "needs imagecodecs: pip install imagecodecs"
        except (ValueError, RuntimeError) as error:
            rows[codec.name].missing = f"refused the data: {error}"
    measured = [codec for codec in codecs if not rows[codec.name].missing]
    for _, codec in product(range(config.repeats), measured):
        row, frames = rows[codec.name], stored[codec.name]
        row.encode_ms.append(cpu_ms(partial(store_all, codec, items)) / views)
        row.decode_ms.append(cpu_ms(partial(load_all, codec, frames)) / views)
    return rows


def store_all(codec: Codec, items: list[Item]) -> list[bytes]:
    """The frames of a shard that hold the items."""
    frames = []
    for item in items:
        ShardWriter(shard := io.BytesIO()).add("member", codec.encode(*item))
        frames.append(shard.getvalue())
    return frames


def load_all(codec: Codec, frames: list[bytes]) -> list[NDArray[Any]]:
    """What a reader does with them."""
    return [codec.decode(unpack_member(frame, "member", "zstd")) for frame in frames]


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of the whole process, ms: on a busy machine, what the wall clock would show on an idle one."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def check(row: CodecRow, decoded: list[NDArray[Any]], items: list[Item], truth: int) -> None:
    """Compare what came back with what went in."""
    wanted = [np.ascontiguousarray(item[truth]) for item in items]
    row.exact = all(map(same, decoded, wanted))
    if wanted[0].dtype == np.float32:
        row.error = max(
            float((np.abs(one[valid].astype(np.float64) - depth[valid]) / depth[valid]).max(initial=0))
            for one, (depth, valid) in zip(decoded, items, strict=True)
        )
        return
    errors = [one.astype(np.int16) - other for one, other in zip(decoded, wanted, strict=True)]
    row.error = float(max(np.abs(one).max() for one in errors))
    if row.error and wanted[0].dtype == np.uint8:
        squares = statistics.fmean(float(np.square(one, dtype=np.float64).mean()) for one in errors)
        row.psnr_db = 10 * math.log10(255**2 / squares)


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays agree in every bit; of a bool, in what it means, for True may be stored as any byte."""
    if one.dtype == np.bool_:
        return np.array_equal(one, other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@dataclass(frozen=True, kw_only=True)
class CodecGroup:
    """Rows of one kind of part, measured on one group."""

    part: str
    name: str
    items: int
    archive_kb: float
    rows: Rows


def measure_groups(config: CodecsConfig) -> Iterator[CodecGroup]:
    """Measure every part of every group."""
    images, depth = photographs(config), depth_groups(config)  # first: a wrong pattern ends it at once
    toy_images, toy_depth = toy_groups(config)
    images, depth = toy_images | images, toy_depth | depth
    plan = [("image", images, IMAGE_CODECS, 0), ("depth", depth, DEPTH_CODECS, 0), ("valid", depth, VALID_CODECS, 1)]
    for part, groups, codecs, truth in plan:
        for name, items in groups.items():
            rows = measure(codecs, items, config, truth)
            archive = archive_kilobytes(items, config) if part != "valid" else 0.0
            yield CodecGroup(part=part, name=name, items=len(items), archive_kb=archive, rows=rows)
