"""A decoder for `webdataset.WebDataset(...).decode(...)` that returns the same arrays as `SampleReader`.

Does not import webdataset, whose decoders are plain functions of (extension, bytes).
"""

import json
from typing import Any

from sharding.codecs.image import decode_image
from sharding.codecs.parts import DEPTH_DECODERS, IMAGE_EXTS, VALID_EXTS, decode_depth, decode_valid
from sharding.errors import DataError

_DEPTH_EXTS = {f"depth.{ext}": ext for ext in DEPTH_DECODERS}
_VALID_EXTS = {f"valid.{ext}" for ext in VALID_EXTS}


def webdataset_decoder(ext: str, data: bytes) -> Any:
    """Decode a member by the extension that WebDataset gives it (".rows.npy", ".depth.planes.npy", ".json", ...).

    Returns:
        uint8 (H, W, 3) for an image, float32 (H, W) for depth, bool (H, W) for valid, a dict for JSON; None for any
        other extension, for which WebDataset calls the next decoder.

    Raises:
        DataError: An image, depth or valid part, or JSON, fails to decode.

    Example:
        Without `pre=[], post=[]` webdataset appends its own decoders, which unpickle `.pkl` and `.pth`.

        >>> import webdataset                                                               # doctest: +SKIP
        >>> members = webdataset.WebDataset("pipe:zstd -dc SHARD.tar.zst")                  # doctest: +SKIP
        >>> members.decode(webdataset_decoder, pre=[], post=[])                             # doctest: +SKIP
    """
    ext = ext.lstrip(".")
    if ext in _DEPTH_EXTS:
        return decode_depth(data, _DEPTH_EXTS[ext])
    if ext in _VALID_EXTS:
        return decode_valid(data)
    if ext == "json":
        return _decode_json(data)
    return decode_image(data) if ext in IMAGE_EXTS else None


def _decode_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"member .json: expected JSON, found {len(data)} bytes that are none: {error}") from error
