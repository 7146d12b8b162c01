"""The manifest: what a set is, how it was made, and the hashes of its files. Written last: no manifest, no set."""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.choices import Compression, Encodings, Subsampling, with_unrecorded
from sharding.format.strict_json import Count, Number, Sha256, Text, parse, to_type
from sharding.format.tool import needed_tool
from sharding.limits import MAX_TEXT_CHARS

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1

MAX_FIELDS = 100_000
"""Entries of `made`, `source` or `codecs`, or of an object in these: kinds of files that were skipped, for example."""

ShardName = Annotated[str, Meta(pattern=r"\Ashards/[A-Za-z0-9_][A-Za-z0-9._-]*\Z", max_length=255)]
"""Path of a shard below the set. Nothing else is opened: no other folder, no device, no word of a shell."""

# A part of the file names of evaluations, so without a slash; `depthstream index` takes the name of the folder.
SetName = Annotated[str, Meta(pattern=r"\A[^/\x00]*\Z", max_length=255)]


Word = Annotated[str, Meta(pattern=r"\A[^\ud800-\udfff]*\Z", max_length=MAX_TEXT_CHARS)]
"""Text without half characters, which no file could be written with."""


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One shard of the set.

    Attributes:
        name: Path below the set, such as "shards/diode-train-000000.tar.zst".
        samples: Number of samples in it.
        bytes: Size of the file.
        sha256: Hash of the file, hexadecimal.
        compression: "zstd" (a frame per member) or "none".
    """

    name: ShardName
    samples: Count
    bytes: Count
    sha256: Sha256
    compression: Compression


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        name: Name of the set; names of shard files begin with it.
        dataset: "megadepth", "diode" or "webdataset".
        split: "train", "val" or "".
        tool: Version of the program that made the set.
        made: All options that change bytes, and the order of the samples.
        source: Fingerprint of the source.
        codecs: Encoding of each part; for depth with the largest relative error, measured.
        samples: Number of samples in the set.
        quarantined: Number of samples refused when the set was made; `quarantine.jsonl` lists them.
        index_sha256: Hash of the index file, hexadecimal.
        shards: The shards in order.
        format: Version of the format.
    """

    name: SetName
    dataset: Word
    split: Word
    tool: Word
    made: dict[str, Any]
    source: dict[str, Any]
    codecs: dict[str, Any]
    samples: Count
    quarantined: Count
    index_sha256: Sha256
    shards: tuple[ShardFile, ...] = field(default=())
    format: int = FORMAT_VERSION

    @property
    def num_bytes(self) -> int:
        """Total bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def identity(self) -> str:
        """Hash of the content: sha256 over the hashes of the shards in order, without paths, workers and dates."""
        return hashlib.sha256("\n".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def encode(self) -> bytes:
        """Encode the manifest as indented JSON with sorted keys: the same manifest gives the same bytes."""
        content = dataclasses.asdict(self) | {"bytes": self.num_bytes, "identity": self.identity}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> "Manifest":
        """Read what `encode` wrote, from anywhere; options that it lacks are as they were when none recorded them.

        Raises:
            DataError: It is no manifest, of another format version, or its counts or hashes contradict each other;
                names the field, what was expected and what was found.
        """
        content = parse(data, where)
        first = to_type(content, _First, where)
        if first.format != FORMAT_VERSION:
            found = f"format version {first.format}, this program reads {FORMAT_VERSION}"
            raise DataError(f"{where}: {found}; {needed_tool(first.tool)}")
        manifest, written = to_type(content, cls, where), to_type(content, _Written, where)
        to_type(content, _Known, where)
        if not manifest.samples:
            raise DataError(f"{where}: samples: expected at least one, found 0: it was edited or damaged")
        _check_twice(manifest, where)
        # A manifest that was edited by hand; shards and index have hashes of their own.
        counted = sum(shard.samples for shard in manifest.shards)
        _check_same("samples", manifest.samples, counted, where)
        _check_same("bytes", written.bytes, manifest.num_bytes, where)
        _check_same("identity", written.identity, manifest.identity, where)
        return dataclasses.replace(manifest, made=with_unrecorded(manifest.made))


_Value = Text | Number | float | bool | None
_Object = Annotated[dict[str, _Value], Meta(max_length=MAX_FIELDS)]
_Facts = Annotated[dict[str, _Value | _Object], Meta(max_length=MAX_FIELDS)]


@dataclass(frozen=True, kw_only=True)
class _First:
    """What is read first: all else depends on it, and any version of the format has it."""

    format: Number
    tool: Word = "a newer program"


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What the file has beside the fields of `Manifest`, and how those look that it leaves open."""

    identity: Sha256
    bytes: Count
    made: _Facts
    source: _Facts
    codecs: Annotated[dict[str, _Facts], Meta(max_length=MAX_FIELDS)]


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The options that this program reads again."""

    with_depth: bool = False
    split: Text = ""
    scene_type: Text = ""
    preset: Text = ""
    encodings: Encodings = 1
    check: Text = ""
    max_side: Count | None = None
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 95
    jpeg_subsampling: Subsampling = "4:4:4"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The facts of a source that this program reads again."""

    fingerprint: Text = ""
    md5: Text | None = None
    published: Text | None = None
    skipped: Annotated[dict[str, Count], Meta(max_length=MAX_FIELDS)] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Known:
    made: _Made
    source: _Source


def _check_twice(manifest: Manifest, where: str) -> None:
    twice = [name for name, count in Counter(shard.name for shard in manifest.shards).items() if count > 1]
    if twice:
        raise DataError(f"{where}: shards: expected each shard once, found {twice[0]} twice: it was edited or damaged")


def _check_same(field: str, found: object, expected: object, where: str) -> None:
    if found != expected:
        raise DataError(
            f"{where}: {field}: expected {expected}, which follows from its list of shards, found "
            f"{shorten(repr(found), 80)}: it was edited or damaged"
        )
