"""From source files to the parts of a sample: decode, check, encode, decode again, measure the error.

A sample that cannot be used raises a DataError with the reason, and its files go to quarantine.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.codecs.hdf5 import read_depth
from sharding.codecs.image import decode_image, encode_jpeg
from sharding.codecs.image_header import read_header
from sharding.codecs.limits import to_float32
from sharding.codecs.log16_planes import can_encode, encode_log16_planes
from sharding.codecs.npy import encode_npy, load_npy
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import encode_planes, round_depth
from sharding.codecs.ppm import encode_ppm
from sharding.codecs.rows import encode_rows
from sharding.codecs.strips import strips
from sharding.errors import DataError
from sharding.format.choices import (
    ENCODINGS,
    JPEG_QUALITY,
    JPEG_SUBSAMPLING,
    Check,
    Compression,
    Encodings,
    Preset,
    Subsampling,
)
from sharding.format.sample import DepthFacts, DepthKind, depth_facts, valid_pixels
from sharding.making.units import as_mask, check_dtype, check_unit
from sharding.sources.pairing import Candidate
from sharding.sources.source import Readable


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How samples are encoded.

    Attributes:
        dataset: "megadepth" or "diode".
        preset: Both store JPEG files unchanged, unless they are shrunk. "exact" keeps the pixels of a PNG and depth
            bit for bit; "compact" encodes a PNG as JPEG and rounds depth within `sharding.codecs.planes.MAX_ROUNDING`.
        check: How a JPEG file that is stored unchanged is checked: "header" reads its header and finds its end;
            "decode" decodes every pixel as well, and finds what a JPEG decoder reports: it fills data that is missing
            before the end marker with grey. All other files are decoded anyway.
        max_side: Longest side in pixels that an image may have; None for any. A larger one becomes a JPEG.
        jpeg_quality: Of images that become JPEG, 1 to 100.
        jpeg_subsampling: Resolution of the colour of these.
        compression: Of the members. Images and depth that will not be compressed are stored as they are.
        encodings: Which encodings the preset takes.
    """

    dataset: str
    preset: Preset = "exact"
    check: Check = "header"
    max_side: int | None = None
    jpeg_quality: int = JPEG_QUALITY
    jpeg_subsampling: Subsampling = JPEG_SUBSAMPLING
    compression: Compression = "zstd"
    encodings: Encodings = ENCODINGS

    @staticmethod
    def of(dataset: str, made: Mapping[str, Any]) -> "Recipe":
        """Take from the options with which a set is or was made those that its samples depend on."""
        names = ("preset", "check", "max_side", "jpeg_quality", "jpeg_subsampling", "compression", "encodings")
        return Recipe(dataset=dataset, **{name: made[name] for name in names if name in made})

    def is_light(self, roles: Sequence[str]) -> bool:
        """Tell whether files of these roles are mostly stored unchanged, so that encoding takes little time."""
        return tuple(roles) == ("image",) and self.max_side is None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A candidate, encoded for a shard.

    Attributes:
        height, width: Size of the image in pixels.
        parts: Part -> (extension, payload), in the order of the members.
        depth: Facts of its depth map.
        depth_error: Largest relative depth error over valid pixels, measured by decoding the payload.
    """

    height: int
    width: int
    parts: dict[str, tuple[str, bytes]]
    depth: DepthFacts = field(default_factory=DepthFacts)
    depth_error: float = 0.0


def encode(source: Readable, candidate: Candidate, recipe: Recipe) -> Encoded:
    """Read the candidate's files and encode them.

    Raises:
        DataError: A file is unreadable or truncated, image, depth and mask differ in size, or depth contradicts the
            unit of its data set.
    """
    ext, payload, image_size = _encode_image(source.read(candidate.files["image"].name), recipe)
    parts = {"image": (ext, payload)}
    facts, error = DepthFacts(), 0.0
    size = target_size(image_size, recipe.max_side)
    if "depth" in candidate.files:
        depth, mask = _read_depth(source, candidate, recipe.dataset)
        if depth.shape != image_size:
            raise DataError(
                f"image is {image_size[0]} x {image_size[1]}, "
                f"depth is {depth.shape[0]} x {depth.shape[1]} (height x width)"
            )
        encoded, facts, error = _encode_depth(_shrink(depth, size), _shrink(mask, size), recipe)
        parts |= encoded
    parts["meta"] = ("json", _meta(source, candidate, recipe, size, facts))
    return Encoded(height=size[0], width=size[1], parts=parts, depth=facts, depth_error=error)


def _encode_image(data: bytes, recipe: Recipe) -> tuple[str, bytes, tuple[int, int]]:
    """Return extension and payload to store, and the (height, width) of the source image."""
    header = read_header(data)
    size = header.height, header.width
    target = target_size(size, recipe.max_side)
    # A JPEG is stored as it is: decoding and encoding it again would lose quality.
    if header.ext == "jpg" and target == size:
        if recipe.check == "decode":
            decode_image(data)
        return "jpg", data, size
    pixels = decode_image(data)
    if target != size:
        pixels = shrink_image(pixels, target)
    elif recipe.preset == "compact" and recipe.encodings == 1:
        return "jpg", encode_jpeg(pixels), size
    if target != size or recipe.preset == "compact":
        return "jpg", encode_jpeg(pixels, recipe.jpeg_quality, recipe.jpeg_subsampling), size
    if not header.plain:
        return "png", data, size
    if recipe.encodings == 1 or recipe.compression == "none":
        return "ppm", encode_ppm(pixels), size
    return "rows.npy", encode_rows(pixels), size


def _read_depth(source: Readable, candidate: Candidate, dataset: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Read depth in the dtype of the source, and the mask if the data set has one; both of one (height, width)."""
    name = candidate.files["depth"].name
    try:
        data = source.read(name)
        depth = read_depth(data) if name.endswith(".h5") else load_npy(data)
        check_dtype(depth.dtype, dataset)
        if "mask" not in candidate.files:
            return depth, None
        name = candidate.files["mask"].name
        mask = as_mask(load_npy(source.read(name)))
    except DataError as error:
        raise DataError(f"{name.rpartition('/')[2]}: {error}") from error
    if mask.shape != depth.shape:
        raise DataError(
            f"depth is {depth.shape[0]} x {depth.shape[1]}, mask is {mask.shape[0]} x {mask.shape[1]} (height x width)"
        )
    return depth, mask


def target_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Return (height, width) after shrinking the longer side to `max_side`, if it is longer; px."""
    if max_side is None or max(size) <= max_side:
        return size
    factor = max_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def shrink_image(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shrink uint8 (H, W, 3) to (height, width) in px, as images of a set are."""
    shrunk = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)  # Pillow: (width, height)
    return np.asarray(shrunk)


def _shrink(array: NDArray[Any] | None, size: tuple[int, int]) -> NDArray[Any]:
    """Shrink a map to (height, width) by nearest pixels: an average across an edge would be a depth of nothing."""
    if array is None or array.shape == size:
        return array  # type: ignore[return-value]
    # Source pixel that contains the centre of each target pixel.
    rows = ((np.arange(size[0]) + 0.5) * array.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * array.shape[1] / size[1]).astype(np.intp)
    return array[np.ix_(rows, columns)]


def classify(depth: NDArray[np.float32], valid: NDArray[np.bool_], dataset: str) -> DepthKind:
    """Determine what the numbers of a depth map mean.

    MegaDepth stores ordinal maps under the same name as distances; they alone contain negative values.
    """
    if dataset == "megadepth" and (depth < 0).any():
        return "ordinal"
    if not valid.any():
        return "none"
    return "up_to_scale" if dataset == "megadepth" else "metric"


def _encode_depth(
    raw: NDArray[Any], mask: NDArray[Any] | None, recipe: Recipe
) -> tuple[dict[str, tuple[str, bytes]], DepthFacts, float]:
    """Encode a depth map; return its parts, its facts, and the measured error."""
    depth = to_float32(raw, mask)
    valid = valid_pixels(depth, mask)
    kind = classify(depth, valid, recipe.dataset)
    if kind == "ordinal":
        valid = np.zeros_like(valid)  # labels, not distances
    facts = depth_facts(depth, valid, kind)
    check_unit(facts, recipe.dataset)
    # Distances may be rounded; ordinal labels, and maps without valid pixels, are stored bit for bit.
    rounded = recipe.preset == "compact" and kind in ("metric", "up_to_scale")
    parts = _code_depth(depth, valid, rounded, recipe)
    ext, payload = parts["depth"]
    decoded = decode_depth(payload, ext)
    kept = decode_valid(parts["valid"][1]) if "valid" in parts else valid_pixels(decoded)
    if not np.array_equal(kept, valid):
        raise DataError("the valid mask does not survive its encoding")
    return parts, facts, _measured_error(raw, decoded, valid)


def _code_depth(
    depth: NDArray[np.float32], valid: NDArray[np.bool_], rounded: bool, recipe: Recipe
) -> dict[str, tuple[str, bytes]]:
    """Choose the encodings of depth and valid mask, which codes of depth make superfluous; return the parts."""
    if rounded and recipe.encodings > 1 and can_encode(depth, valid):
        return {"depth": ("log16.npy", encode_log16_planes(depth, valid))}
    values = round_depth(depth, valid) if rounded else depth
    if recipe.encodings == 1:
        return {"depth": ("planes.npy", encode_planes(values)), "valid": ("npy", encode_npy(valid))}
    plain = recipe.compression == "none"
    coded = ("npy", encode_npy(values)) if plain else ("planes.npy", encode_planes(values))
    return {"depth": coded, "valid": ("pbm", encode_pbm(valid))}


def _measured_error(truth: NDArray[Any], decoded: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    return max(_error_of_strip(truth[rows], decoded[rows], valid[rows]) for rows in strips(valid.shape))


def _error_of_strip(truth: NDArray[Any], decoded: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    # Against the values of the source (float32 or float64), so the conversion to float32 counts as well.
    exact = truth[valid].astype(np.float64)  # valid depth is greater than 0
    return float((np.abs(decoded[valid] - exact) / exact).max(initial=0.0))


def _meta(source: Readable, candidate: Candidate, recipe: Recipe, size: tuple[int, int], facts: DepthFacts) -> bytes:
    """Encode the JSON of a sample: its origin, size, and the facts of its depth."""
    numbers = {name: getattr(facts, name) for name in ("valid_fraction", "depth_min", "depth_median", "depth_max")}
    # NaN, which JSON lacks, becomes null: other programs read these members, too.
    content = {
        "dataset": recipe.dataset,
        **dataclasses.asdict(candidate.origin),
        "height": size[0],
        "width": size[1],
        "depth_kind": facts.kind,
        "depth_unit": {"metric": "m", "up_to_scale": "scene"}.get(facts.kind),
        "source": {role: source.path_of(file.name) for role, file in candidate.files.items()},
    } | {name: None if math.isnan(number) else number for name, number in numbers.items()}
    return json.dumps(content, sort_keys=True).encode()
