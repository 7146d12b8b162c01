"""The command `verify`: every byte against the manifest, every member against the index, every sample decoded.

The index is not trusted either: its rows are compared with the samples in the shards.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from sharding.checking.against_source import compare_with_source
from sharding.checking.fault import Fault
from sharding.cli import Outcome
from sharding.config import VerifyConfig
from sharding.errors import DataError
from sharding.format.index import INDEX_NAME
from sharding.format.manifest import ShardFile
from sharding.format.names import member_name
from sharding.format.sample import PARTS, Sample, depth_facts
from sharding.format.shard import detect_compression, iter_members, open_plain
from sharding.progress import track
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown


def run(config: VerifyConfig) -> Outcome:
    """Run `depthstream verify`."""
    opened = ShardSet(config.set, check_index=False)
    faults = check_index(opened)
    faults += [
        fault
        for shard in track(opened.manifest.shards, total=len(opened.manifest.shards), unit="shards", label="verify")
        for fault in check_shard(opened, shard)
    ]
    faults += stray_files(opened)
    compared = compare_with_source(opened, config.against) if config.against else None
    faults += compared.faults if compared else []
    data = {
        "set": opened.url,
        "samples": len(opened),
        "shards": len(opened.manifest.shards),
        "bytes": opened.manifest.num_bytes,
        "identity": opened.manifest.identity,
        "faults": [fault.__dict__ for fault in faults],
    }
    if compared:
        data["against"] = {"samples": compared.samples, "quarantined": compared.quarantined}
    size = f"{len(opened)} samples in {len(opened.manifest.shards)} shards, {opened.manifest.num_bytes / 1e6:.1f} MB"
    verdict = f"{len(faults)} faults" if faults else "whole and unchanged"
    if compared and config.against and not faults:
        verdict += f", and equal to {shown(config.against)}: {compared.samples} samples are in it"
        verdict += f", {compared.quarantined} in quarantine" if compared.quarantined else ""
    summary = f"{opened.url}: {size}: {verdict}"
    return Outcome(data=data, text="\n".join([summary, *(f"  {fault}" for fault in faults)]), ok=not faults)


def check_index(opened: ShardSet) -> list[Fault]:
    """Check that the index is the one for which the manifest was written."""
    expected, found = opened.manifest.index_sha256, opened.index_sha256
    if found == expected:
        return []
    return [Fault(shard="", key="", problem=f"{INDEX_NAME}: expected sha256 {expected}, found {found}: it was edited")]


def check_shard(opened: ShardSet, shard: ShardFile) -> Iterator[Fault]:
    """Check one shard: its size and hash, each sample through the index, and the tar as any tar reader sees it."""
    name = shard.name.rpartition("/")[2]
    rows = [at for at, row in enumerate(opened.index["shard"]) if row == name]  # in the order of the members
    try:
        data = opened.reader.store.read_all(shard.name)
    except DataError as error:
        yield Fault(shard=name, key="", problem=str(error))
        yield from (Fault(shard=name, key=opened.reader.key(row), problem="lost with its shard") for row in rows)
        return
    if len(data) != shard.bytes:
        yield Fault(
            shard=name, key="", problem=f"expected {shard.bytes} bytes, found {len(data)}: truncated or replaced"
        )
    elif (found := hashlib.sha256(data).hexdigest()) != shard.sha256:
        yield Fault(shard=name, key="", problem=f"expected sha256 {shard.sha256}, found {found}")
    if len(rows) != shard.samples:
        yield Fault(
            shard=name,
            key="",
            problem=f"expected {shard.samples} samples as in the manifest, found {len(rows)} in the index",
        )
    yield from check_samples(opened, name, rows)
    yield from check_members(opened, name, rows, data)


def check_samples(opened: ShardSet, shard: str, rows: list[int]) -> Iterator[Fault]:
    """Read every part of each row through the index, decode it, and compare it with the row."""
    for row in rows:
        key = opened.reader.key(row)
        try:
            problem = _contradiction(opened, row, opened.reader.read([row], PARTS)[0])
        except DataError as error:
            # The fault has its own shard and key, and this already is `depthstream verify`.
            place = f"shard shards/{shard}, key {key}: "
            problem = str(error).removeprefix(place).partition("; run `depthstream verify")[0]
        if problem:
            yield Fault(shard=shard, key=key, problem=problem)


def _contradiction(opened: ShardSet, row: int, sample: Sample) -> str:
    """Describe the first difference between a row of the index and its sample; "" if there is none."""
    height, width = sample.image.shape[:2]
    for part in (sample.depth, sample.valid):
        if part is not None and part.shape != (height, width):
            return f"image is {height} x {width}, depth or valid is {part.shape[0]} x {part.shape[1]}"
    truth: dict[str, Any] = {"height": height, "width": width}
    if opened.manifest.dataset != "webdataset":
        meta = opened.meta(row)
        truth |= {name: meta[name] for name in ("split", "scene", "scan", "scene_type")} | {"kind": meta["depth_kind"]}
    if sample.depth is not None and sample.valid is not None:
        # The statistics are computed again from the stored depth and mask.
        truth |= asdict(depth_facts(sample.depth, sample.valid, truth.get("kind", opened.index["kind"].iloc[row])))
    for name, value in truth.items():
        indexed = opened.index[name].iloc[row]
        # Statistics in the index are float32, and of the depth before the preset "compact" rounded it by up to 1e-4.
        same = np.isclose(indexed, value, rtol=2e-4, equal_nan=True) if isinstance(value, float) else indexed == value
        if not same:
            return f"{name}: expected {value} as in the sample, found {indexed} in the index"
    return ""


def check_members(opened: ShardSet, shard: str, rows: list[int], data: bytes) -> Iterator[Fault]:
    """Read the tar as any tar reader would: it must have the members of the index, in this order, and no others."""
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
    """Find shards in a local set that the manifest does not list."""
    folder = opened.reader.store.local_path("shards")
    known = {shard.name.rpartition("/")[2] for shard in opened.manifest.shards}
    if folder is None or not folder.is_dir():
        return []
    return [
        Fault(shard=path.name, key="", problem="not in the manifest: left by an interrupted run, or of another set")
        for path in sorted(folder.iterdir())
        if path.name not in known
    ]
