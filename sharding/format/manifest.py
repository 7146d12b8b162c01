"""The manifest: what a set is, how it was made, and the hashes of its files. Written last: no manifest, no set."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from sharding.errors import DataError
from sharding.format.choices import Compression

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1


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

    name: str
    samples: int
    bytes: int
    sha256: str
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

    name: str
    dataset: str
    split: str
    tool: str
    made: dict[str, Any]
    source: dict[str, Any]
    codecs: dict[str, Any]
    samples: int
    quarantined: int
    index_sha256: str
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
        """Read what `encode` wrote.

        Raises:
            DataError: It is no manifest, of another format version, or its counts or hashes contradict each other.
        """
        try:
            content = json.loads(data)
            if content["format"] != FORMAT_VERSION:
                raise DataError(
                    f"{where}: format version {content['format']}, this program reads {FORMAT_VERSION}; "
                    "use a newer program"
                )
            shards = tuple(ShardFile(**shard) for shard in content["shards"])
            names = {f.name for f in dataclasses.fields(cls)}  # `bytes` and `identity` are derived, not fields
            manifest = cls(**{key: value for key, value in content.items() if key in names - {"shards"}}, shards=shards)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{where}: expected a manifest, found {len(data)} bytes of something else: {error!r}"
            ) from error
        # A manifest that was edited by hand; shards and index have hashes of their own.
        if content["identity"] != manifest.identity or sum(shard.samples for shard in shards) != manifest.samples:
            raise DataError(
                f"{where}: its identity or sample count does not follow from its list of shards: "
                "it was edited or damaged"
            )
        return manifest
