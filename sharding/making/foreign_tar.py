"""The samples of a WebDataset tar that was made elsewhere: what belongs together, where it is, and what is left out.

Adjacent members with the same path up to the first dot of the base name are a sample. Nothing is left out in silence:
see `PassedOver`. What would make two readers of the tar see different samples is an error.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.members import reason_to_skip
from sharding.codecs.image import decode_image
from sharding.codecs.limits import to_float32
from sharding.codecs.npy import load_npy
from sharding.codecs.parts import DEPTH_DECODERS, IMAGE_EXTS, VALID_EXTS, decode_depth, decode_valid
from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.index import Row
from sharding.format.sample import DepthFacts, check_shape, depth_facts, valid_pixels
from sharding.format.shard import Span
from sharding.format.shard_walk import detect_compression
from sharding.format.tar_walk import BLOCK, FILE, FOLDER, Entry, TarWalker
from sharding.limits import MAX_TEXT_CHARS

_DEEP_EXTS = {"depth": set(DEPTH_DECODERS), "valid": set(VALID_EXTS)}
"""Extensions of depth and valid parts, behind the name of the part: `KEY.depth.npy`."""

_REMEDIES = {
    "hard link": "tar --hard-dereference stores a file instead",
    "symbolic link": "tar --dereference stores a file instead",
    "sparse file": "tar without --sparse stores a plain file",
}
_NAMES_KEPT = 100
_NAMES_SHOWN = 3
_EXTENSIONS_SHOWN = 20
_EXTENSION_CHARS = 40


@dataclass
class PassedOver:
    """What is in no row of the index, by reason.

    Attributes:
        extensions: Number of members that are no part of a sample, by extension.
        counts: Number of samples, members and files that were left out, by reason.
        names: The first of them, by reason.
    """

    extensions: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count something, and keep its name."""
        self.counts[reason] += 1
        names = self.names.setdefault(reason, [])
        if len(names) < _NAMES_KEPT:
            names.append(shorten(name))

    def add_member(self, ext: str) -> None:
        """Count a member that is no part of a sample."""
        self.extensions[ext if len(ext) <= _EXTENSION_CHARS else "(long extension)"] += 1

    def data(self) -> dict[str, dict[str, object]]:
        """Return counts and names by reason, for JSON."""
        return {reason: {"count": count, "first": self.names[reason]} for reason, count in sorted(self.counts.items())}

    def lines(self) -> list[str]:
        """Describe all of it, a line for each extension and reason."""
        most = self.extensions.most_common(_EXTENSIONS_SHOWN)
        lines = [f"  skipped {count} members .{ext}" for ext, count in sorted(most)]
        if more := self.extensions.total() - sum(count for _, count in most):
            lines.append(f"  skipped {more} members of other extensions")
        for reason, count in sorted(self.counts.items()):
            names = self.names[reason][:_NAMES_SHOWN]
            rest = f" and {count - len(names)} more" if count > len(names) else ""
            remedy = f" ({_REMEDIES[reason]})" if reason in _REMEDIES else ""
            lines.append(f"  passed over {count}: {reason}{remedy}: {', '.join(names)}{rest}")
        return lines


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a sample: its extension, the member's name, where its payload is, and the payload."""

    ext: str
    name: str
    span: Span
    payload: bytes


@dataclass(slots=True)
class _Group:
    """Adjacent members under one key.

    Attributes:
        key: The path of the members up to the first dot of the base name.
        parts: The parts of the sample.
        last: Name of the last member so far.
        lacks: Why it is no whole sample: a part that cannot be read.
    """

    key: str
    parts: dict[str, _Part] = field(default_factory=dict)
    last: str = ""
    lacks: str = ""

    @property
    def is_sample(self) -> bool:
        """Whether it has parts, or should have."""
        return bool(self.parts or self.lacks)


def read_rows(path: Path, shard: str, passed: PassedOver) -> Iterator[Row]:
    """Yield a row for each sample of an uncompressed tar.

    Args:
        path: The tar.
        shard: Its file name in the set.
        passed: Takes what is left out.

    Raises:
        DataError: The tar is compressed, damaged or truncated; the members of a sample are apart; two members are the
            same part; or a part of a sample fails to decode.
    """
    with closing(LocalFile(path)) as source:
        try:
            compression = detect_compression(source.read_at(0, BLOCK))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if compression != "none":
            raise DataError(f"{path}: is compressed as a whole; ranged reads need a plain tar: decompress it")
        with open_archive(source) as plain:
            for group in _groups(TarWalker(plain), path, passed):
                if group.lacks:
                    passed.add(f"sample whose {group.lacks}", f"{path.name}: {group.key}")
                elif "image" in group.parts:
                    yield _row(path, shard, group)
                elif group.parts:
                    passed.add("sample without an image", f"{path.name}: {group.key}")


def _groups(walker: TarWalker, path: Path, passed: PassedOver) -> Iterator[_Group]:
    """Join adjacent members by key."""
    group = _Group("")
    closed: dict[str, tuple[str, bool]] = {}  # key -> the last member of it, and whether it is a sample
    for entry in walker:
        if len(entry.name) > MAX_TEXT_CHARS:  # no index has such a key, and all keys are remembered here
            passed.add(reason_to_skip(entry), f"{path.name}: {entry.name}")
            continue
        key, ext = _split_name(entry.name)
        # As in webdataset, names without an extension, and `.DS_Store` and `._a.jpg` of macOS, end no sample.
        if entry.kind == FOLDER or not key:
            if entry.kind != FOLDER:
                hidden = entry.name.rpartition("/")[2].startswith(".")
                passed.add("hidden file" if hidden else "name without an extension", f"{path.name}: {entry.name}")
            continue
        part = _find_part(ext)
        if key != group.key:
            yield group
            closed[group.key] = group.last, group.is_sample or closed.get(group.key, ("", False))[1]
            group = _Group(key)
            if key in closed and (part or closed[key][1]):
                raise _apart(path, key, closed[key][0], entry.name)
        _add(group, entry, part, walker, path, passed)
    yield group


def _add(
    group: _Group, entry: Entry, part: tuple[str, str] | None, walker: TarWalker, path: Path, passed: PassedOver
) -> None:
    """Add an entry to its group, or count it."""
    group.last = entry.name
    reason = reason_to_skip(entry)
    if part is None and entry.kind == FILE:
        passed.add_member(_split_name(entry.name)[1])
        return
    if reason:
        passed.add(reason, f"{path.name}: {entry.name}")
    if part is None:
        return
    name, ext = part
    if name in group.parts:
        raise DataError(
            f"{path}, key {shorten(group.key)}: expected one {name}, found {shorten(group.parts[name].name)} and "
            f"{shorten(entry.name)}: remove one of them"
        )
    if reason:
        group.lacks = f"{name} is a {reason}"
        return
    payload = walker.read()
    # In a plain tar the stored bytes of a member are its payload, so the span leaves out header and padding.
    group.parts[name] = _Part(ext, entry.name, Span(entry.begin, len(payload), google_crc32c.value(payload)), payload)


def _apart(path: Path, key: str, first: str, second: str) -> DataError:
    return DataError(
        f"{path}, key {shorten(key)}: its members must follow each other, found {shorten(second)} behind members of "
        f"other keys, far from {shorten(first)}: sort the tar by name (tar --sort=name)"
    )


def _split_name(name: str) -> tuple[str, str]:
    """Split a name at the first dot of its base name, as webdataset does: ("a/b", "depth.npy"); "", "" without one."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ext = base.partition(".")
    return (f"{folder}{slash}{stem}", ext) if stem and dot else ("", "")


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


def _check_names(group: _Group) -> None:
    """Check that readers, who make the name of a member from part and extension, will find each.

    Raises:
        DataError: The name of a part has capitals.
    """
    for name, part in group.parts.items():
        if name in _DEEP_EXTS and not part.name.endswith(f".{name}.{part.ext}"):
            raise DataError(f"expected a member named KEY.{name}.{part.ext}, found {shorten(part.name)}: rename it")


def _row(path: Path, shard: str, group: _Group) -> Row:
    try:
        _check_names(group)
        # Decoded, not only the header read: an image that no reader could decode must not get into the index.
        height, width = decode_image(group.parts["image"].payload).shape[:2]
        facts = _facts(group, (height, width))
    except DataError as error:
        raise DataError(f"{path}, key {shorten(group.key)}: {error}") from error
    spans = {name: (part.ext, part.span) for name, part in group.parts.items()}
    return Row(key=group.key, shard=shard, height=height, width=width, depth=facts, parts=spans)


def _facts(group: _Group, size: tuple[int, int]) -> DepthFacts:
    """Compute the facts of the depth part; its unit is assumed to be metres, because a tar does not contain it."""
    parts = group.parts
    valid = decode_valid(parts["valid"].payload) if "valid" in parts else None
    if valid is not None:
        check_shape("image", size, "valid", valid.shape)
    if "depth" not in parts:
        return DepthFacts()
    depth = decode_depth(parts["depth"].payload, parts["depth"].ext)
    check_shape("image", size, "depth", depth.shape)
    if parts["depth"].ext.lower() == "npy":
        to_float32(load_npy(parts["depth"].payload), valid)  # refuses what is lost by it
    valid = valid_pixels(depth, valid)
    return depth_facts(depth, valid, "metric" if valid.any() else "none")
