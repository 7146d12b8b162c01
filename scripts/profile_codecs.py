"""Measure encodings of images and depth: bytes, time to encode, time to decode, and the error.

Payloads are stored and read as in a shard, one zstd frame each. Times are CPU times of the process and include the
frame. Bytes and times of smaller or larger maps are scaled to --height x --width pixels. Then every pair of an image
and a depth encoding is compared with the bounds of the two presets.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

from codec_bench.candidates import DEPTH_CODECS, IMAGE_CODECS
from codec_bench.measure import CodecGroup, CodecRow, measure_groups
from codec_bench.views import CodecsConfig

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import UsageError

FASTER, LARGER, COMPACT_SHARE, COMPACT_ERROR = 3.0, 1.15, 0.40, 1e-4
"""Bounds of the presets. exact: decodes at least FASTER times as fast as PNG + npy, in at most LARGER times the bytes
of the published archive. compact: at most COMPACT_SHARE of the bytes of exact, at most this relative error of depth."""

PUBLISHED = ("PNG", "npy", "mask npy")
"""Encodings of image, depth and mask in the published data."""
EXACT, COMPACT, VALID = ("rows", "byte planes"), ("JPEG q90 4:2:0", "log16 planes"), "PBM"
"""The (image, depth) pairs of the presets, which are shown view by view, and the encoding of the mask:
it is counted for log16 planes as well, which need none."""
_PACKAGES = ("numpy", "pillow", "zstandard", "imagecodecs")


@dataclass(frozen=True)
class CodecView:
    """An image group, a depth group and its valid group, which together make a view."""

    image: CodecGroup
    depth: CodecGroup
    valid: CodecGroup

    def total(self, of: Callable[[CodecRow], float], image: str, depth: str, valid: str = VALID) -> float:
        """Sum a figure, bytes or time, over the parts of a view that are encoded as named."""
        return of(self.image.rows[image]) + of(self.depth.rows[depth]) + of(self.valid.rows[valid])

    def ratios(self, image: str, depth: str) -> dict[str, float]:
        """Compare a pair of encodings with the published data and with exact, the valid mask always included."""
        kilobytes = self.total(_kilobytes, image, depth)
        return {
            "faster": self.total(_decode_ms, *PUBLISHED) / self.total(_decode_ms, image, depth),
            "of_archive": kilobytes / (self.image.archive_kb + self.depth.archive_kb),
            "of_exact": kilobytes / self.total(_kilobytes, *EXACT),
        }


def _kilobytes(row: CodecRow) -> float:
    return row.kilobytes


def _decode_ms(row: CodecRow) -> float:
    return row.decode


def views(groups: list[CodecGroup]) -> Iterator[CodecView]:
    """Yield the toy world's images with its depth; photographs with the given depth, or else with the toy world's."""
    by_part = {part: [one for one in groups if one.part == part] for part in ("image", "depth", "valid")}
    given = any(not one.name.startswith("toy") for one in by_part["depth"])
    for image, (depth, valid) in product(by_part["image"], zip(by_part["depth"], by_part["valid"], strict=True)):
        toy = image.name.startswith("toy"), depth.name.startswith("toy")
        # Both of the toy world or both given; a photograph with toy depth only where no depth was given.
        if toy[0] == toy[1] or not (toy[0] or given):
            yield CodecView(image, depth, valid)


def judge_presets(groups: list[CodecGroup]) -> list[dict[str, Any]]:
    """Evaluate each pair of encodings against the bounds of the preset it could be, over all views.

    Returns:
        For each pair `preset`, `image`, `depth`; [least, largest] over the views of `faster` (decoding speed over that
        of PNG + npy), `of_archive` and `of_exact` (ratios of bytes); `error` (relative, of depth); `holds`. Pairs for
        exact come first, and of each preset those that hold.
    """
    shown = list(views(groups))
    pairs = [
        one
        for image, depth in product(IMAGE_CODECS, DEPTH_CODECS)
        if not any(view.image.rows[image.name].missing or view.depth.rows[depth.name].missing for view in shown)
        if (one := judge_pair(shown, image.name, depth.name))
    ]
    return sorted(pairs, key=lambda one: (one["preset"] != "exact", not one["holds"]))


def judge_pair(shown: list[CodecView], image: str, depth: str) -> dict[str, Any] | None:
    """Evaluate one pair for `judge_presets`; None if the pair can be neither preset."""
    # One element where image and depth are both exact or both lossy, which either preset requires.
    lossless = {
        all(view.image.rows[image].exact for view in shown),
        all(view.depth.rows[depth].exact for view in shown),
    }
    error = max(view.depth.rows[depth].error for view in shown)
    if len(lossless) == 2 or error > COMPACT_ERROR:
        return None
    ratios = [view.ratios(image, depth) for view in shown]
    spread = {name: [min(one[name] for one in ratios), max(one[name] for one in ratios)] for name in ratios[0]}
    if lossless == {True}:
        preset, holds = "exact", spread["faster"][0] >= FASTER and spread["of_archive"][1] <= LARGER
    else:
        preset, holds = "compact", spread["of_exact"][1] <= COMPACT_SHARE
    return {"preset": preset, "image": image, "depth": depth, **spread, "error": error, "holds": holds}


def judge_views(groups: list[CodecGroup]) -> list[dict[str, Any]]:
    """Compute the ratios of the presets' own pairs, view by view."""
    return [
        {"preset": preset, "images": view.image.name, "depth": view.depth.name, **view.ratios(*pair)}
        for preset, pair in (("exact", EXACT), ("compact", COMPACT))
        for view in views(groups)
    ]


def format_codecs(groups: list[CodecGroup], pairs: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> str:
    """Format the figures as text: a table for each group, then the pairs, then the presets view by view."""
    lines = []
    for group in groups:
        share = f"; in the archive {group.archive_kb:.0f} kB" if group.archive_kb else ""
        lines.append(f"{group.part}: {group.name} ({group.items} measured{share})")
        lines.append(
            f"  {'':20}{'kB':>7}{'of first':>10}{'encode ms':>11}{'decode ms':>11}{'min - max':>16}  faster  error"
        )
        first = next(iter(group.rows.values()))
        lines += [_line(name, row, first) for name, row in group.rows.items()] + [""]
    lines.append("pairs, least - largest over the views (with the valid mask)")
    lines.append(f"  {'':58}{'faster':>13}{'of archive':>15}{'of exact':>15}  holds")
    for pair in pairs:
        name = f"{pair['preset']:9}{pair['image']} + {pair['depth']}"
        spread = [f"{pair[key][0]:.2f} - {pair[key][1]:.2f}" for key in ("faster", "of_archive", "of_exact")]
        lines.append(f"  {name:58}{spread[0]:>13}{spread[1]:>15}{spread[2]:>15}  {'yes' if pair['holds'] else 'no'}")
    lines += ["", f"exact: {' + '.join((*EXACT, VALID))}; compact: {' + '.join((*COMPACT, VALID))}"]
    for one in chosen:
        name = f"{one['preset']:9}{one['images']} with {one['depth']}"
        lines.append(f"  {name:58}{one['faster']:13.2f}{one['of_archive']:15.2f}{one['of_exact']:15.2f}")
    return "\n".join(lines)


def _line(name: str, row: CodecRow, first: CodecRow) -> str:
    if row.missing:
        return f"  {name:20}{row.missing}"
    spread = f"{min(row.decode_ms):.2f} - {max(row.decode_ms):.2f}"
    error = "exact" if row.exact else f"{row.error:.3g}" + (f", {row.psnr_db:.1f} dB" if row.psnr_db else "")
    encode = statistics.median(row.encode_ms)
    return (
        f"  {name:20}{row.kilobytes:7.0f}{row.kilobytes / first.kilobytes:10.2f}{encode:11.2f}{row.decode:11.2f}"
        f"{spread:>16}{first.decode / row.decode:8.2f}  {error}"
    )


def run(config: CodecsConfig) -> Outcome:
    """Measure all candidates.

    Raises:
        UsageError: Counts or sizes below 1, or a pattern without files.
        DataError: A file is not an image or not a depth map.
    """
    if low := [name for name in ("samples", "repeats", "height", "width") if getattr(config, name) < 1]:
        raise UsageError(f"{', '.join(low)}: expected 1 or more")
    groups = list(measure_groups(config))
    pairs, chosen = judge_presets(groups), judge_views(groups)
    data = {"options": asdict(config), "versions": {name: _version(name) for name in _PACKAGES}}
    return Outcome(
        data=data | {"groups": [plain(one) for one in groups], "pairs": pairs, "presets": chosen},
        text=format_codecs(groups, pairs, chosen),
    )


def plain(group: CodecGroup) -> dict[str, Any]:
    """Convert a group for JSON; of a candidate that was not measured only the reason is left."""
    rows = {name: {"missing": row.missing} if row.missing else asdict(row) for name, row in group.rows.items()}
    return asdict(group) | {"rows": rows}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


COMMAND = Command(
    name="scripts/profile_codecs.py",
    config=CodecsConfig,
    runner=f"{__name__}:run",
    help="measure encodings of images and depth",
    examples=(
        "scripts/profile_codecs.py",
        "scripts/profile_codecs.py --samples 1 --repeats 3 --json > codecs.json",
        "scripts/profile_codecs.py --images 'photos/*.jpg' --depth 'laser*.npy' 'kitti*.png:256' 'nyu*.png:1000'",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run with the options of `CodecsConfig` and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
