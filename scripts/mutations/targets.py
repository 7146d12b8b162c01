"""Sound inputs with their decoders, and what may come of a changed one: the right value, or an error of one line."""

import io
import math
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutations.mutate import change_bytes, change_text
from sharding.codecs.image import decode_image
from sharding.codecs.log16_planes import decode_log16_planes, encode_log16_planes
from sharding.codecs.parts import decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import decode_planes, encode_planes
from sharding.codecs.ppm import encode_ppm
from sharding.codecs.rows import encode_rows
from sharding.errors import DataError, UsageError
from sharding.format.index import Row, build_index, decode_index, encode_index, select
from sharding.format.manifest import Manifest, ShardFile
from sharding.format.sample import DepthFacts
from sharding.format.shard import Packer, Span, unpack_member
from sharding.format.shard_walk import iter_members

MAX_CHARS = 3000


@dataclass(frozen=True)
class Target:
    """What is mutated.

    Attributes:
        name: Of the decoder.
        mutate: Returns a changed input.
        decode: Decodes an input; raises DataError or UsageError if it is refused, ValueError if it is silently wrong.
    """

    name: str
    mutate: Callable[[random.Random], Any]
    decode: Callable[[Any], object]


def find_fault(target: Target, given: Any) -> str:
    """Decode an input; return "accepted", "refused", or what should not have happened."""
    try:
        target.decode(given)
    except (DataError, UsageError) as error:
        text = str(error)
        if len(text) >= MAX_CHARS or not text or "\n" in text:  # other control characters are escaped when it is shown
            return f"an error of {len(text)} characters: {text[:200]!r}"
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return "accepted"


def make_targets() -> list[Target]:
    """Return all targets."""
    manifest, rows, tar = _manifest().encode(), encode_index(build_index(_rows())), _tar()
    frame, frame_name = Packer().pack("a.png", b"payload" * 50).stored, "a.png"
    frame_of = build_index(_rows())
    json_words = (b"null", b"[]", b"{}", b'"x"', b"[" * 500, b"1.5", b"true", b'"shards/../x"', b"\\ud800")
    tar_words = (b"ustar\x0000", b"ustar  \x00", b"x", b"g", b"L", b"K", b"S", b"12 path=abc\n", b"77777777777")
    return [
        Target("manifest", lambda dice: change_bytes(manifest, dice, json_words), _decode_manifest),
        Target("index", lambda dice: change_bytes(rows, dice, (b"PAR1", b"\x15\x00", b"\x19\x00")), _decode_index),
        Target("tar", lambda dice: change_bytes(tar, dice, tar_words), _decode_tar),
        Target("frame", lambda dice: change_bytes(frame, dice), lambda data: unpack_member(data, frame_name, "zstd")),
        *(Target(name, _changing(data), decode) for name, (data, decode) in _parts().items()),
        Target("where", _draw_where, lambda text: _select(frame_of, text)),
    ]


def _manifest() -> Manifest:
    shards = tuple(
        ShardFile(name=f"shards/x-{n:06d}.tar.zst", samples=4, bytes=9000, sha256="ab" * 32, compression="zstd")
        for n in range(2)
    )
    return Manifest(
        name="x", dataset="diode", split="val", tool="0.1.0", made={"preset": "exact", "seed": 0},
        source={"fingerprint": "cd" * 32}, codecs={"image": {"ext": "png"}}, samples=8, quarantined=0,
        index_sha256="ef" * 32, shards=shards,
    )  # fmt: skip


def _rows() -> list[Row]:
    return [
        Row(
            key=f"0001_{n:04d}",
            shard=f"x-{n // 4:06d}.tar.zst",
            height=480 + n,
            width=640,
            depth=DepthFacts(),
            parts={"image": ("png", Span(1000 * (n % 4), 900, n)), "meta": ("json", Span(1000 * (n % 4) + 900, 50, n))},
        )
        for n in range(8)
    ]


def _tar() -> bytes:
    """Make a tar with a long name, attributes and several members, as GNU tar and Python write them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as opened:
        for number in range(6):
            info = tarfile.TarInfo(f"{'long-' * 30 if number == 2 else ''}{number:06d}.png")
            info.size = 700
            opened.addfile(info, io.BytesIO(bytes([number]) * 700))
    return out.getvalue()


def _parts() -> dict[str, tuple[bytes, Callable[[bytes], None]]]:
    """Make a sound payload of each encoding of a part, with its decoder."""
    dice = np.random.default_rng(0)
    image, depth = dice.integers(0, 256, (24, 70, 3), np.uint8), dice.uniform(0.3, 90, (24, 70)).astype(np.float32)
    valid = depth > 9
    return {
        "rows": (encode_rows(image), _decodes(decode_image, np.uint8, 3)),
        "ppm": (encode_ppm(image), _decodes(decode_image, np.uint8, 3)),
        "planes": (encode_planes(depth), _decodes(decode_planes, np.float32, 2)),
        "log16": (encode_log16_planes(depth, valid), _decodes(decode_log16_planes, np.float32, 2, least=0.0)),
        "bits": (encode_pbm(valid), _decodes(decode_valid, np.bool_, 2)),
    }


def _changing(data: bytes) -> Callable[[random.Random], bytes]:
    words = (b"P4\n9 9\n", b"P6\n", b"'<f8'", b"'|u1'", b"'|O'", b"(2, 24, 70)", b"(-1, 3)", b"(1,)", b"[" * 300)
    return lambda dice: change_bytes(data, dice, words)


def _decodes(
    decode: Callable[[bytes], NDArray[Any]], dtype: type[np.generic], axes: int, least: float = -math.inf
) -> Callable[[bytes], None]:
    """Return a decoder that looks at what another one returns."""

    def check(data: bytes) -> None:
        found = decode(data)
        if found.dtype != dtype or found.ndim != axes or not 0 < found.size <= 8 * len(data):
            raise ValueError(f"{found.dtype} {found.shape} of {len(data)} bytes")
        if least > -math.inf and not (found >= least).all():
            raise ValueError(f"values below {least}, or none")

    return check


def _decode_manifest(data: bytes) -> None:
    found = Manifest.decode(data, "manifest.json")
    again = Manifest.decode(found.encode(), "manifest.json")
    if again != found or sum(shard.samples for shard in found.shards) != found.samples:
        raise ValueError("it is not the same after it was written and read")


def _decode_index(data: bytes) -> None:
    found = decode_index(data, "index.parquet", _manifest())
    if len(found) != 8 or found["key"].duplicated().any() or found.isna()["key"].any():
        raise ValueError("keys are lost, doubled or missing")


def _decode_tar(data: bytes) -> None:
    names = [member.name for member in iter_members(io.BytesIO(data))]
    if not names and data.strip(b"\0"):
        raise ValueError("nothing was found in a tar that is not empty")


_CONDITIONS = (
    "height > 482 and width == 640", "key.str.startswith('0001') or not (height < 5)",
    "shard in ['x-000000.tar.zst', 'a']", "300 < height <= 500 & width != 1",
    "height * width > 1e6", "~(key == 'a') | index < 3",
)  # fmt: skip
_WORDS = (
    "@", "__import__('os')", "9**9**9", ".to_csv('x')", "lambda: 0", "(", ")", "[", "]", "'", '"', "\\", "not ", " in ",
    "`key`", ".str.contains('(a+)+$')", "\u2028", "key", "height", "and", "==", "None", "1e400", "0x", "#", "\n", ";",
    ":=", "f''", "%", "//",
)  # fmt: skip


def _draw_where(dice: random.Random) -> str:
    return change_text(dice.choice(_CONDITIONS), dice, _WORDS)


def _select(frame: Any, text: str) -> None:
    chosen = select(frame, text)
    if not 0 < len(chosen) <= len(frame) or not np.isin(chosen.index, frame.index).all():
        raise ValueError("it selects what is not there")
