"""Proof that a set is whole: every byte against the manifest, every member against the index, every sample decoded.

`--against` encodes the source again and compares: what is in the source is in the set, or in quarantine.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sharding import diode, megadepth
from sharding.candidate import Candidate
from sharding.command import Outcome
from sharding.config import VerifyConfig
from sharding.encode import Recipe, encode
from sharding.errors import DataError, UsageError
from sharding.manifest import ShardFile
from sharding.progress import track
from sharding.reader import member_name
from sharding.sample import PARTS, Sample
from sharding.shard import detect_compression, iter_members
from sharding.shardset import ShardSet
from sharding.source import FolderSource, fingerprint
from sharding.unpack import open_plain


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong with a set.

    Attributes:
        shard: Its name, "" if the fault is the set's.
        key: The sample's key, "" if the fault is the shard's.
        problem: Expected and found.
    """

    shard: str
    key: str
    problem: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.shard, self.key and f"key {self.key}")))
        return f"{place}: {self.problem}" if place else self.problem


def run(config: VerifyConfig) -> Outcome:
    """Run `depthstream verify`."""
    opened = ShardSet(config.set)
    faults = [
        fault
        for shard in track(opened.manifest.shards, total=len(opened.manifest.shards), unit="shards", label="verify")
        for fault in check_shard(opened, shard)
    ]
    faults += stray_files(opened)
    if config.against:
        faults += compare_with_source(opened, config.against)
    data = {
        "set": config.set,
        "samples": len(opened),
        "shards": len(opened.manifest.shards),
        "bytes": opened.manifest.num_bytes,
        "identity": opened.manifest.identity,
        "faults": [fault.__dict__ for fault in faults],
    }
    size = f"{len(opened)} samples in {len(opened.manifest.shards)} shards, {opened.manifest.num_bytes / 1e6:.1f} MB"
    summary = f"{config.set}: {size}: "
    verdict = (
        f"{len(faults)} faults"
        if faults
        else "whole and unchanged" + (f", and equal to {config.against}" if config.against else "")
    )
    return Outcome(data=data, text="\n".join([summary + verdict, *(f"  {fault}" for fault in faults)]), ok=not faults)


def check_shard(opened: ShardSet, shard: ShardFile) -> Iterator[Fault]:
    """Check one shard: its size and hash, each sample through the index, and the tar as any tar reader sees it."""
    name = shard.name.rpartition("/")[2]
    try:
        data = opened.reader.store.read_all(shard.name)
    except DataError as error:
        yield Fault(shard=name, key="", problem=str(error))
        return
    if len(data) != shard.bytes:
        yield Fault(
            shard=name, key="", problem=f"expected {shard.bytes} bytes, found {len(data)}: truncated or replaced"
        )
    elif (found := hashlib.sha256(data).hexdigest()) != shard.sha256:
        yield Fault(shard=name, key="", problem=f"expected sha256 {shard.sha256}, found {found}")
    rows = [at for at, row in enumerate(opened.index["shard"]) if row == name]
    if len(rows) != shard.samples:
        yield Fault(shard=name, key="", problem=f"manifest says {shard.samples} samples, the index has {len(rows)}")
    yield from check_samples(opened, name, rows)
    yield from check_members(opened, name, rows, data)


def check_samples(opened: ShardSet, shard: str, rows: list[int]) -> Iterator[Fault]:
    """Read every part of each row through the index, and decode it."""
    for row in rows:
        key = opened.index["key"].iloc[row]
        try:
            opened.reader.read_encoded([row], PARTS)
            problem = _contradiction(opened, row, opened.reader.read([row], PARTS)[0])
        except DataError as error:
            problem = (
                str(error).removeprefix(f"shard shards/{shard}, key {key}: ").partition("; run `depthstream verify")[0]
            )
        if problem:
            yield Fault(shard=shard, key=key, problem=problem)


def _contradiction(opened: ShardSet, row: int, sample: Sample) -> str:
    """What a decoded sample and its row of the index say differently."""
    facts = opened.index.iloc[row]
    if sample.image.shape[:2] != (facts["height"], facts["width"]):
        found = f"{sample.image.shape[0]} x {sample.image.shape[1]}"
        return f"index says {facts['height']} x {facts['width']}, the image is {found}"
    for part in (sample.depth, sample.valid):
        if part is not None and part.shape != sample.image.shape[:2]:
            return f"image is {sample.image.shape[:2]}, depth or valid is {part.shape}"
    return ""


def check_members(opened: ShardSet, shard: str, rows: list[int], data: bytes) -> Iterator[Fault]:
    """Walk the tar as any tar reader would: the members the index names, in its order, and no others."""
    expected = [
        member_name(opened.reader.key(row), part, opened.reader.ext(row, part))
        for row in rows
        for part in PARTS
        if opened.reader.ext(row, part)
    ]
    try:
        found = [member.name for member in iter_members(open_plain(data, detect_compression(data[:512])))]
    except DataError as error:
        yield Fault(shard=shard, key="", problem=f"as a tar: {error}")
        return
    if opened.manifest.dataset == "webdataset":
        expected.sort()  # tars made elsewhere order the members of a sample as they like
        found = sorted(set(found) & set(expected))
    if found != expected:
        at = next(
            (at for at, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]),
            min(len(found), len(expected)),
        )
        names = [names[at] if at < len(names) else "the end" for names in (expected, found)]
        yield Fault(shard=shard, key="", problem=f"as a tar: expected member {names[0]}, found {names[1]}")


def stray_files(opened: ShardSet) -> list[Fault]:
    """Shards in a local set that the manifest does not name."""
    folder = opened.reader.store.local_path("shards")
    known = {shard.name.rpartition("/")[2] for shard in opened.manifest.shards}
    if folder is None or not folder.is_dir():
        return []
    return [
        Fault(shard=path.name, key="", problem="not in the manifest: left by an interrupted run, or of another set")
        for path in sorted(folder.iterdir())
        if path.name not in known
    ]


def compare_with_source(opened: ShardSet, root: str) -> list[Fault]:
    """Encode each source sample again and compare it with the set.

    Raises:
        UsageError: The set was made from tars, not from a source folder.
        DataError: The folder holds no such data set.
    """
    manifest = opened.manifest
    if manifest.dataset not in ("megadepth", "diode"):
        raise UsageError(f"--against compares sets of megadepth and diode, this one is {manifest.dataset}")
    source = FolderSource(root)
    files = source.list()
    made = manifest.made
    pairing = (
        megadepth.pair(files, made["with_depth"])
        if manifest.dataset == "megadepth"
        else diode.pair(files, made["split"], made["scene_type"])
    )
    faults = (
        []
        if fingerprint(files) == manifest.source["fingerprint"]
        else [
            Fault(
                shard="", key="", problem=f"{root} is not the source this set was made from: its names or sizes differ"
            )
        ]
    )
    recipe = Recipe(dataset=manifest.dataset, preset=made["preset"], max_side=made.get("max_side"))
    rows = {key: row for row, key in enumerate(opened.index["key"])}
    for candidate in track(pairing.candidates, total=len(pairing.candidates), unit="samples", label="compare"):
        problem = _difference(opened, source, candidate, recipe, rows.pop(candidate.key, None))
        faults += [Fault(shard="", key=candidate.key, problem=problem)] if problem else []
    return faults + [Fault(shard="", key=key, problem=f"in the set, not in {root}") for key in rows]


def _difference(opened: ShardSet, source: FolderSource, candidate: Candidate, recipe: Recipe, row: int | None) -> str:
    try:
        encoded = encode(source, candidate, recipe)
    except DataError as error:
        return "" if row is None else f"in the set, but its source is bad: {error}"
    if row is None:
        return "in the source, not in the set"
    stored = opened.reader.read_encoded([row], PARTS)[0]
    differing = [part for part, (_, payload) in encoded.parts.items() if part != "meta" and stored.get(part) != payload]
    return f"{' and '.join(differing)} differ from the source" if differing else ""
