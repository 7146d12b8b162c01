"""Frames and tars of a set, damaged or made to inflate; `verify` and `inspect --grid` read them."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from sharding.format.shard import tar_header
from tests.hostile.case import Case
from tests.hostile.indexes import parquet, seal
from tests.hostile.worlds import World

GRID = ("inspect", "set", "--grid", "sheet.png")


def first_frame(make: Callable[[bytes], bytes], honest: bool, words: tuple[str, ...]) -> Any:
    """Build a set whose first member has other stored bytes; `honest`: the index and the manifest agree with them."""

    def build(folder: Path, world: World) -> list[str]:
        target = world.copy_set(folder)
        shard = min((target / "shards").iterdir())
        table = pq.read_table(target / "index.parquet").to_pylist()
        row = next(row for row in table if row["shard"] == shard.name)
        begin, length = row["image_offset"], row["image_bytes"]
        data = shard.read_bytes()
        frame = make(data[begin : begin + length])
        shard.write_bytes(data[:begin] + frame + data[begin + length :])
        if honest:
            for part in ("image", "depth", "valid", "meta"):
                row[f"{part}_offset"] += (len(frame) - length) * (part != "image")
            row["image_bytes"], row["image_crc32c"] = len(frame), google_crc32c.value(frame)
            _agree(target, shard, table)
        return list(words)

    return build


def _agree(target: Path, shard: Path, rows: list[dict[str, Any]]) -> None:
    """Write index and manifest so that they have the hashes and sizes of what is there."""
    schema = pq.read_schema(target / "index.parquet")
    manifest = json.loads((target / "manifest.json").read_text())
    of = next(one for one in manifest["shards"] if one["name"].endswith(shard.name))
    of["sha256"], of["bytes"] = hashlib.sha256(shard.read_bytes()).hexdigest(), shard.stat().st_size
    manifest["bytes"] = sum(one["bytes"] for one in manifest["shards"])
    manifest["identity"] = hashlib.sha256("\n".join(one["sha256"] for one in manifest["shards"]).encode()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(manifest))
    seal(target, parquet(pa.Table.from_pylist(rows, schema)))


def packed(content: bytes, **options: Any) -> bytes:
    """One frame."""
    return zstandard.ZstdCompressor(**options).compress(content)


def _bomb(_: bytes) -> bytes:
    """A frame of 3 GB of zeros, whose size is not in its header."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(3000)) + packer.flush()


def _claims(size: int) -> bytes:
    """A frame whose header claims a size."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


def other_shard(make: Callable[[Path], None], words: tuple[str, ...]) -> Any:
    """Build a set whose first shard is replaced."""

    def build(folder: Path, world: World) -> list[str]:
        shard = min((world.copy_set(folder) / "shards").iterdir())
        make(shard)
        return list(words)

    return build


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def _sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(20 << 30)


FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda frame: b"", "cut": lambda frame: frame[:-3], "zeros": lambda frame: bytes(len(frame)),
    "a flipped bit": lambda frame: frame[:20] + bytes([frame[20] ^ 1]) + frame[21:],
    "3 GB of zeros": _bomb, "a claim of 2**40 bytes": lambda _: _claims(2**40), "a claim of 2**63 bytes": lambda _: _claims(2**63),
    "no tar": lambda _: packed(b"no tar" * 200), "less than a header": lambda _: packed(b"x"),
    "another member": lambda _: packed(tar_header("other.png", 4) + b"abcd" + bytes(508)),
    "a header that claims 8 GB": lambda _: packed(tar_header("x.png", 2**33 - 1) + bytes(512)),
    "an empty frame": lambda _: packed(b""), "a skippable frame": lambda _: b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",
    "a window of 2 GB": lambda frame: b"\x28\xb5\x2f\xfd\x00\xa8" + frame[6:],
}  # fmt: skip
SHARDS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink, "a pipe": _fifo, "a link to /dev/zero": lambda path: _link(path, "/dev/zero"),
    "a link to itself": lambda path: _link(path, path.name), "a dangling link": lambda path: _link(path, "nowhere"),
    "a folder": lambda path: (path.unlink(), path.mkdir())[0], "20 GB of nothing": _sparse,
    "empty": lambda path: path.write_bytes(b"") and None, "unreadable": lambda path: _link(path, "/proc/self/mem"),
}  # fmt: skip
CASES = [
    *(
        Case(
            f"frames/{label}, {'with its hash' if honest else 'damaged'}, {words[0]}", first_frame(make, honest, words)
        )
        for label, make in FRAMES.items()
        for honest in (True, False)
        for words in (("verify", "set"), GRID)
        if label not in ("a skippable frame", "3 GB of zeros") or honest
    ),
    *(
        Case(f"frames/a shard is {label}, {words[0]}", other_shard(make, words))
        for label, make in SHARDS.items()
        for words in (("verify", "set"), GRID)
        if not (label == "20 GB of nothing" and words == GRID)
    ),
]
