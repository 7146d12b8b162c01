"""The work of a worker: from a candidate to compressed members that only have to be written."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sharding.errors import DataError
from sharding.format.choices import Compression
from sharding.format.names import member_name
from sharding.format.sample import DepthFacts
from sharding.format.shard import PackedMember, Packer
from sharding.making.encode import Recipe, encode
from sharding.sources.joiner import Joined, Payloads
from sharding.sources.pairing import Candidate, Refusal
from sharding.sources.source import Readable


@dataclass(frozen=True, kw_only=True)
class PackedSample:
    """An encoded sample.

    Attributes:
        candidate: Its source files.
        height, width: Size of its image in pixels.
        depth: Facts of its depth map.
        depth_error: Largest relative error of its depth.
        members: Part -> extension and member, in the order in which they are written.
    """

    candidate: Candidate
    height: int
    width: int
    depth: DepthFacts
    depth_error: float
    members: dict[str, tuple[str, PackedMember]] = field(default_factory=dict)


def pack(source: Readable, candidate: Candidate, recipe: Recipe, packer: Packer) -> PackedSample:
    """Read, encode and pack a candidate.

    Raises:
        DataError: A file is damaged, or image, depth and mask differ in size.
    """
    encoded = encode(source, candidate, recipe)
    return PackedSample(
        candidate=candidate,
        height=encoded.height,
        width=encoded.width,
        depth=encoded.depth,
        depth_error=encoded.depth_error,
        members={
            part: (ext, packer.pack(member_name(candidate.key, part, ext), payload))
            for part, (ext, payload) in encoded.parts.items()
        },
    )


def pack_all(samples: Sequence[Joined], recipe: Recipe, compression: Compression) -> list[PackedSample | Refusal]:
    """Pack samples whose files are in memory; bad ones become refusals."""
    packer = Packer(compression)
    return [_pack_one(joined, recipe, packer) for joined in samples]


def _pack_one(joined: Joined, recipe: Recipe, packer: Packer) -> PackedSample | Refusal:
    try:
        return pack(Payloads(joined), joined.candidate, recipe, packer)
    except DataError as error:
        return refuse(joined.candidate, error)


def refuse(candidate: Candidate, error: DataError) -> Refusal:
    """Make a line of the quarantine from the error of a candidate."""
    return Refusal(key=candidate.key, files=tuple(file.name for file in candidate.files.values()), reason=str(error))
