"""Measure what quality and subsampling cost in a set of shrunk images: bytes, time to decode, and error of views.

Each original is shrunk as `shard --max-side` does it, and encoded in every way. Views are cut from the decoded image as
LightlyTrain cuts them, and compared with those of the same boxes of the original. Views of the shrunk image before it
is encoded give the floor: what shrinking alone costs. Decoding is timed by the CPU clock of its thread, all ways in
turn, after a round to warm up.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from boxed_views import VIEW, Box, Image, cut_original_view, cut_view, draw_boxes
from machine import describe_machine
from numpy.typing import NDArray
from photographs import find_photographs
from spread import spread
from toy_views import add_image_noise, render_view

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.codecs.image import decode_image, encode_jpeg
from sharding.errors import UsageError
from sharding.format.choices import Subsampling
from sharding.making.encode import shrink_image, target_size
from sharding.options import option
from sharding.progress import track

NOISE = 2.7
"""Standard deviation, in grey levels, of noise that gives a rendered view about the bytes of a photograph."""


@dataclass(frozen=True, kw_only=True)
class MeasureJpegConfig:
    """Options of the measurement."""

    photos: str | None = option(
        None, "folder of photographs to use instead of rendered views", metavar="DIR", path="local"
    )
    images: int = option(6, "number of rendered views", metavar="N", least=1)
    height: int = option(1200, "height of rendered views in pixels", metavar="PX", least=VIEW)
    width: int = option(1600, "width of rendered views in pixels", metavar="PX", least=VIEW)
    sides: tuple[int, ...] = option((1024, 512), "longer sides of the shrunk images", metavar="PX", least=VIEW)
    quality: tuple[int, ...] = option(
        (95, 90, 85, 80), "qualities; others are compared with the first", metavar="Q", least=1, most=100
    )
    subsampling: tuple[Subsampling, ...] = option(("4:4:4", "4:2:2", "4:2:0"), "resolutions of the colour; likewise")
    boxes: int = option(8, "views of an image", metavar="N", least=1)
    repeats: int = option(7, "timed rounds, after one that is not timed", metavar="N", least=1)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a shrunk image is encoded."""

    quality: int
    subsampling: Subsampling


@dataclass(kw_only=True)
class Figures:
    """What is found of a way, or of the shrunk images before they are encoded.

    Attributes:
        files: The encoded images.
        decode_ms: CPU time to decode an image, of each round.
        means, worst: Mean and largest absolute difference of each view to that of the original, in levels of 255.
        from_shrunk: Mean absolute difference of each view to that of the shrunk image before it was encoded.
    """

    files: list[bytes] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    from_shrunk: list[float] = field(default_factory=list)

    def add_view(self, view: Image, shrunk: Image, original: Image) -> None:
        """Compare a view with those of the same box of the shrunk image and of the original."""
        difference = _difference(view, original)
        self.means.append(float(difference.mean()))
        self.worst.append(float(difference.max()))
        self.from_shrunk.append(float(_difference(view, shrunk).mean()))

    def error(self) -> dict[str, float]:
        """Summarise the differences of the views, in levels of 255."""
        return {
            "mean": round(statistics.mean(self.means), 3),
            "worst_view": round(max(self.means), 3),
            "worst_pixel": max(self.worst),
            "from_shrunk": round(statistics.mean(self.from_shrunk), 3),
        }


def run(config: MeasureJpegConfig) -> Outcome:
    """Measure all ways at each side.

    Raises:
        UsageError: There are no photographs, or none is larger than a side.
    """
    originals = list(_rendered(config) if config.photos is None else _photographs(Path(config.photos)))
    rows = [row for side in config.sides for row in _measure_side(side, originals, config)]
    data = {"rows": rows} | describe_machine(("torch", "torchvision", "pillow", "numpy", "opencv-python-headless"))
    return Outcome(data=data, text=_table(rows))


def _rendered(config: MeasureJpegConfig) -> Iterator[Image]:
    for number in track(range(config.images), total=config.images, unit="views", label="toy world"):
        image = render_view(number, config.height, config.width).image
        noise = np.random.default_rng(number).standard_normal((config.height, config.width, 1))
        yield add_image_noise(image, NOISE * noise)


def _photographs(folder: Path) -> Iterator[Image]:
    found = find_photographs(folder)
    for path in track(found, total=len(found), unit="images", label="photographs"):
        yield decode_image(path.read_bytes())


def _measure_side(side: int, originals: Sequence[Image], config: MeasureJpegConfig) -> list[dict[str, Any]]:
    """Measure all ways at a side; return a row for the shrunk images before they are encoded, and one for each way."""
    larger = [image for image in originals if max(image.shape) > side and min(image.shape[:2]) >= VIEW]
    if not larger:
        raise UsageError(f"--sides {side}: expected an image whose longer side exceeds it, found none")
    floor = Figures()
    found = {Way(quality=one, subsampling=colour): Figures() for one in config.quality for colour in config.subsampling}
    for number, original in enumerate(track(larger, total=len(larger), unit="images", label=f"{side} px")):
        boxes = draw_boxes(np.random.default_rng((side, number)), original.shape[:2], side, config.boxes)
        _compare_views(original, side, boxes, floor, found)
    _time_in_turn(list(found.values()), config.repeats)
    first = next(iter(found.values()))
    shrunk = {"side": side, "images": len(larger), "quality": None, "subsampling": None, "error": floor.error()}
    return [shrunk, *(_row(side, way, one, first) for way, one in found.items())]


def _compare_views(
    original: Image, side: int, boxes: Sequence[Box], floor: Figures, found: Mapping[Way, Figures]
) -> None:
    """Shrink an image, encode it in all ways, and compare its views."""
    size = target_size(original.shape[:2], side)
    shrunk = shrink_image(original, size)
    # Each box as the view of the original, and of the shrunk image.
    wanted = [(cut_original_view(original, box, size), cut_view(shrunk, box)) for box in boxes]
    for truth, plain in wanted:
        floor.add_view(plain, plain, truth)
    for way, one in found.items():
        one.files.append(encode_jpeg(shrunk, way.quality, way.subsampling))
        decoded = decode_image(one.files[-1])
        for box, (truth, plain) in zip(boxes, wanted, strict=True):
            one.add_view(cut_view(decoded, box), plain, truth)


def _time_in_turn(found: Sequence[Figures], repeats: int) -> None:
    for turn in range(repeats + 1):
        for one in found:  # in turn, so that what changes meanwhile changes all
            took = time_decoding(one.files)
            if turn:  # the first warms up
                one.decode_ms.append(took)


def _difference(one: Image, other: Image) -> NDArray[np.float32]:
    """Return the absolute difference in levels: float32, because that of uint8 would wrap around."""
    return np.abs(one.astype(np.float32) - other.astype(np.float32))


def time_decoding(files: Sequence[bytes]) -> float:
    """Decode images as training does; return the CPU time of this thread for one, ms."""
    from training.loading.decode import decode_rgb

    began = time.thread_time()
    for data in files:
        decode_rgb(data)
    return 1000 * (time.thread_time() - began) / len(files)


def _row(side: int, way: Way, found: Figures, first: Figures) -> dict[str, Any]:
    """Summarise a way; its time over that of the first, by round."""
    size, of_first = (sum(map(len, one.files)) / len(one.files) for one in (found, first))
    ratios = [one / other for one, other in zip(found.decode_ms, first.decode_ms, strict=True)]
    return {
        "side": side,
        "images": len(found.files),
        "quality": way.quality,
        "subsampling": way.subsampling,
        "bytes": round(size),
        "bytes_over_first": round(size / of_first, 3),
        "decode_ms": spread(found.decode_ms),
        "decode_over_first": spread(ratios),
        "error": found.error(),
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    above = f"{'':14} {'stored':>15} {'CPU to decode':>20} {'over the first':>20} view error, levels of 255"
    head = (
        f"side   Q colour {'kB':>7} {'ratio':>6} {'ms':>6} {'':13} {'':20} {'mean':>5} {'worst':>6} pixel from shrunk"
    )
    return "\n".join([above, head, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    error = row["error"]
    views = f"{error['mean']:5.2f} {error['worst_view']:6.2f} {error['worst_pixel']:5.0f} {error['from_shrunk']:11.2f}"
    if row["quality"] is None:
        return f"{row['side']:4} not encoded {'':55} {views}"
    name = f"{row['side']:4} {row['quality']:3} {row['subsampling']}"
    stored = f"{row['bytes'] / 1000:8.1f} {row['bytes_over_first']:6.2f}"
    return f"{name} {stored} {_spread_text(row['decode_ms'])} {_spread_text(row['decode_over_first'])} {views}"


def _spread_text(figures: dict[str, float]) -> str:
    return f"{figures['median']:6.2f} ({figures['least']:.2f} - {figures['most']:.2f})"


COMMAND = Command(
    name="scripts/measure_jpeg_quality.py",
    config=MeasureJpegConfig,
    runner=f"{__name__}:run",
    help="measure bytes, decoding time and view error of shrunk images by JPEG quality and subsampling",
    examples=(
        "scripts/measure_jpeg_quality.py",
        "scripts/measure_jpeg_quality.py --photos photographs --sides 1024 512 --json > jpeg.json",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
