"""The command `index`: a set around existing WebDataset tars, which are read once and never changed."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from sharding.cli import Outcome
from sharding.codecs.image import decode_image
from sharding.codecs.parts import DEPTH_DECODERS, IMAGE_EXTS, VALID_EXTS, decode_depth, decode_valid
from sharding.config import IndexConfig
from sharding.errors import DataError, UsageError
from sharding.format.index import INDEX_NAME, Row, build_index, encode_index
from sharding.format.manifest import MANIFEST_NAME, Manifest, ShardFile
from sharding.format.sample import DepthFacts, depth_facts, valid_pixels
from sharding.format.shard import ShardMember, Span, detect_compression, iter_members
from sharding.machine.files import write_atomically
from sharding.making.same_set import tool_version
from sharding.progress import track

_DEEP_EXTS = {"depth": set(DEPTH_DECODERS), "valid": set(VALID_EXTS)}
"""Extensions of depth and valid parts, behind the name of the part: `KEY.depth.npy`."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Adjacent members under one key.

    Attributes:
        key: The path of the members up to the first dot of the base name.
        members: Part -> extension and member.
    """

    key: str
    members: dict[str, tuple[str, ShardMember]]


def run(config: IndexConfig) -> Outcome:
    """Run `depthstream index`."""
    target = Path(config.set)
    if (target / MANIFEST_NAME).exists():
        raise UsageError(f"{target} holds a set already; choose another folder, or delete that one")
    tars = find_tars(Path(config.tars))
    skipped: Counter[str] = Counter()
    shards, rows = [], []
    for tar in track(tars, total=len(tars), unit="tars", label="index"):
        shard_rows = list(index_tar(tar, skipped))
        shards.append(_link(tar, target, len(shard_rows)))
        rows += shard_rows
    if not rows:
        raise DataError(f"{config.tars}: expected members named KEY.jpg or KEY.png, found none in {len(tars)} tars")
    index = encode_index(build_index(rows))
    write_atomically(target / INDEX_NAME, index)
    manifest = Manifest(
        name=target.resolve().name,
        dataset="webdataset",
        split="",
        tool=tool_version(),
        made={"order": "as found", "tars": len(tars)},
        source={"bytes": sum(shard.bytes for shard in shards)},
        codecs={},
        samples=len(rows),
        quarantined=0,
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(shards),
    )
    write_atomically(target / MANIFEST_NAME, manifest.encode())
    data = {
        "set": config.set,
        "samples": len(rows),
        "shards": len(shards),
        "skipped": dict(skipped),
        "identity": manifest.identity,
    }
    lines = [
        f"{config.set}: {len(rows)} samples in {len(shards)} tars",
        *(f"  skipped {n} members .{ext}" for ext, n in sorted(skipped.items())),
    ]
    return Outcome(data=data, text="\n".join(lines))


def find_tars(path: Path) -> list[Path]:
    """Find the tar files below a folder, sorted; or the file itself.

    Raises:
        DataError: There is none, or two have the same file name.
    """
    tars = [path] if path.is_file() else sorted(path.glob("**/*.tar"))
    if not tars:
        raise DataError(f"{path}: expected .tar files, found none")
    if len({tar.name for tar in tars}) < len(tars):
        raise DataError(f"{path}: two tars have the same file name; a set needs them to differ")
    return tars


def index_tar(path: Path, skipped: Counter[str]) -> Iterator[Row]:
    """Yield a row for each sample of an uncompressed tar; `skipped` counts the extensions of other members.

    Raises:
        DataError: The tar is compressed or damaged, or a part of a sample fails to decode.
    """
    with path.open("rb") as file:
        if detect_compression(file.read(512)) != "none":  # the first header
            raise DataError(f"{path}: is compressed as a whole; ranged reads need a plain tar: decompress it")
        file.seek(0)
        for group in _groups(_read_members(path, file), skipped):
            if "image" in group.members:
                yield _row(path, group)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A member, and what its name says.

    Attributes:
        key: The path up to the first dot of the base name, as webdataset cuts it.
        ext: What follows that dot.
        part: Part and extension of the part; None if it is no part of a sample.
        member: As it was read.
    """

    key: str
    ext: str
    part: tuple[str, str] | None
    member: ShardMember


def _read_members(path: Path, file: BinaryIO) -> Iterator[_Named]:
    """Yield the members of a tar; an error names the tar."""
    try:
        for member in iter_members(file):
            folder, _, base = member.name.rpartition("/")
            stem, _, ext = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            yield _Named(key=key, ext=ext, part=_find_part(ext), member=member)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _groups(members: Iterable[_Named], skipped: Counter[str]) -> Iterator[Group]:
    """Join adjacent members by key."""
    key, found = "", dict[str, tuple[str, ShardMember]]()
    for named in members:
        # Only adjacent members are joined; a key that comes again makes a second row, which `build_index` refuses.
        if named.key != key:
            if found:
                yield Group(key=key, members=found)
            key, found = named.key, {}
        if named.part is None:
            skipped[named.ext] += 1
        else:
            part, ext = named.part
            found[part] = ext, named.member
    if found:
        yield Group(key=key, members=found)


def _find_part(ext: str) -> tuple[str, str] | None:
    """Find which part a member is, from what follows the first dot of its base name.

    Capitals are kept in the extension, because readers make the member's name of it again.

    Returns:
        Part and its extension, such as ("image", "JPG") or ("depth", "planes.npy"); None if it is no part.
    """
    if ext.lower() in IMAGE_EXTS:
        return "image", ext
    if ext.lower() == "json":
        return "meta", ext
    name, _, inner = ext.partition(".")
    return (name.lower(), inner) if inner.lower() in _DEEP_EXTS.get(name.lower(), ()) else None


def _check_names(group: Group) -> None:
    """Check that readers, who make the name of a member from part and extension, will find each.

    Raises:
        DataError: The name of a part has capitals.
    """
    for part, (ext, member) in group.members.items():
        if part in _DEEP_EXTS and not member.name.endswith(f".{part}.{ext}"):
            raise DataError(f"expected a member named KEY.{part}.{ext}, found {member.name}: rename it")


def _row(path: Path, group: Group) -> Row:
    # In a plain tar the stored bytes of a member are its payload, so the span leaves out header and padding.
    spans = {
        part: (ext, Span(member.offset, len(member.payload), google_crc32c.value(member.payload)))
        for part, (ext, member) in group.members.items()
    }
    try:
        _check_names(group)
        # Decoded, not only the header read: an image that no reader could decode must not get into the index.
        height, width = decode_image(group.members["image"][1].payload).shape[:2]
        facts = _facts(group)
    except DataError as error:
        raise DataError(f"{path}, key {group.key}: {error}") from error
    return Row(key=group.key, shard=path.name, height=height, width=width, depth=facts, parts=spans)


def _facts(group: Group) -> DepthFacts:
    """Compute the facts of the depth part; its unit is assumed to be metres, because a tar does not contain it."""
    if "depth" not in group.members:
        return DepthFacts()
    ext, member = group.members["depth"]
    depth = decode_depth(member.payload, ext)
    valid = decode_valid(group.members["valid"][1].payload) if "valid" in group.members else valid_pixels(depth)
    return depth_facts(depth, valid, "metric" if valid.any() else "none")


def _link(tar: Path, target: Path, samples: int) -> ShardFile:
    """Put a link to the tar into the set."""
    folder = target / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / tar.name
    link.unlink(missing_ok=True)
    # Relative, so that set and tars can be moved together.
    link.symlink_to(os.path.relpath(tar.resolve(), folder.resolve()))
    with tar.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardFile(
        name=f"shards/{tar.name}", samples=samples, bytes=tar.stat().st_size, sha256=digest, compression="none"
    )
