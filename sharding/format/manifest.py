"""The manifest: what a set is, how it was made, and the hashes that prove it. Written last: no manifest, no set."""

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
        samples: Samples in it.
        bytes: Its size.
        sha256: Of the file.
        compression: "zstd" (a frame each member) or "none".
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    compression: Compression


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        name: Of the set; shard files begin with it.
        dataset: "megadepth", "diode" or "webdataset".
        split: "train", "val" or "".
        tool: Version of the program that made it.
        made: All options that change bytes, and the order samples are in.
        source: Fingerprint of what it was made from.
        codecs: For each part, how it is encoded; for depth with the largest relative error that was measured.
        samples: Samples in the set.
        quarantined: Samples refused at creation; `quarantine.jsonl` names them.
        index_sha256: Of the index file.
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
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def identity(self) -> str:
        """What the set is: sha256 over the shards' hashes in order. Paths, workers and dates are no part of it."""
        return hashlib.sha256("\n".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def encode(self) -> bytes:
        """Write it as JSON that a person can read."""
        content = dataclasses.asdict(self) | {"bytes": self.num_bytes, "identity": self.identity}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> "Manifest":
        """Read what `encode` wrote.

        Raises:
            DataError: It is no manifest, of another format version, or its counts contradict each other.
        """
        try:
            content = json.loads(data)
            if content["format"] != FORMAT_VERSION:
                raise DataError(
                    f"{where}: format version {content['format']}, this program reads {FORMAT_VERSION}; "
                    "use a newer program"
                )
            shards = tuple(ShardFile(**shard) for shard in content["shards"])
            names = {f.name for f in dataclasses.fields(cls)}
            manifest = cls(**{key: value for key, value in content.items() if key in names - {"shards"}}, shards=shards)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{where}: expected a manifest, found {len(data)} bytes that are none: {error!r}"
            ) from error
        if content["identity"] != manifest.identity or sum(shard.samples for shard in shards) != manifest.samples:
            raise DataError(
                f"{where}: its identity or sample count does not follow from its list of shards: "
                "it was edited or damaged"
            )
        return manifest
