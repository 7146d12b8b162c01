"""The command `verify`: every byte against the manifest, every member against the index, every sample decoded.

The index is not trusted either: its rows are compared with the samples in the shards.
"""

import hashlib
import io
import os
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
from sharding.format.meta import META_FIELDS
from sharding.format.names import member_name
from sharding.format.sample import PARTS, Sample, depth_facts
from sharding.format.shard_walk import detect_compression, iter_members, open_plain
from sharding.format.tar_walk import BLOCK
from sharding.progress import track
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown
from sharding.stores.store import Store

OpenFile = io.BytesIO | io.BufferedReader


def run(config: VerifyConfig) -> Outcome:
    """Run `depthstream verify`."""
    opened = ShardSet(config.set, check_index=False)
    faults = check_index(opened)
    shards = list(zip(opened.manifest.shards, _rows_by_shard(opened), strict=True))
    faults += [
        fault
        for shard, rows in track(shards, total=len(shards), unit="shards", label="verify")
        for fault in check_shard(opened, shard, rows)
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


def _rows_by_shard(opened: ShardSet) -> list[list[int]]:
    """Return the rows of each shard of the manifest, in the order of the index, which is that of the members."""
    order = np.argsort(np.asarray(opened.reader.columns["shard"]), kind="stable")
    return [rows.tolist() for rows in np.split(order, np.cumsum(opened.shard_sizes)[:-1])]


def check_shard(opened: ShardSet, shard: ShardFile, rows: list[int]) -> Iterator[Fault]:
    """Check one shard: its bytes, each sample through the index, and the tar as any tar reader sees it.

    Args:
        opened: The set.
        shard: The shard, as the manifest has it.
        rows: Its rows of the index, in the order of the members.
    """
    name = shard.name.rpartition("/")[2]
    try:
        file = _open_shard(opened.reader.store, shard)
    except DataError as error:
        yield Fault(shard=name, key="", problem=str(error))
        yield from (Fault(shard=name, key=opened.reader.key(row), problem="lost with its shard") for row in rows)
        return
    with file:
        try:
            yield from _check_bytes(file, name, shard)
        except OSError as error:  # a broken disk, or a file of the kernel that only looks like one
            yield Fault(shard=name, key="", problem=f"expected a file that can be read: {error.strerror}")
            return
        if len(rows) != shard.samples:
            yield Fault(
                shard=name,
                key="",
                problem=f"expected {shard.samples} samples as in the manifest, found {len(rows)} in the index",
            )
        yield from check_samples(opened, name, rows)
        yield from check_members(opened, shard, rows, file)


def _open_shard(store: Store, shard: ShardFile) -> OpenFile:
    """Open a shard: a file in pieces, because it may be large; an object of a store in memory.

    Raises:
        DataError: It is missing or cannot be read.
    """
    path = store.local_path(shard.name)
    if path is None or store.size(shard.name) is None:
        return io.BytesIO(store.read_all(shard.name))
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from error


def _check_bytes(file: OpenFile, name: str, shard: ShardFile) -> Iterator[Fault]:
    """Compare the size and the hash of a shard with the manifest."""
    if (size := file.seek(0, os.SEEK_END)) != shard.bytes:
        yield Fault(shard=name, key="", problem=f"expected {shard.bytes} bytes, found {size}: truncated or replaced")
    else:
        file.seek(0)
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != shard.sha256:
            yield Fault(shard=name, key="", problem=f"expected sha256 {shard.sha256}, found {found}")


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
        if missing := [name for name in META_FIELDS if name not in meta]:
            return f"member .json: expected the fields {', '.join(META_FIELDS)}, found no {missing[0]}"
        truth |= {name: meta[name] for name in ("split", "scene", "scan", "scene_type")} | {"kind": meta["depth_kind"]}
    if sample.depth is not None and sample.valid is not None:
        # The statistics are computed again from the stored depth and mask.
        truth |= asdict(depth_facts(sample.depth, sample.valid, truth.get("kind", opened.rows["kind"].iloc[row])))
    for name, value in truth.items():
        indexed = opened.rows[name].iloc[row]
        # Statistics in the index are float32, and of the depth before the preset "compact" rounded it by up to 1e-4.
        same = np.isclose(indexed, value, rtol=2e-4, equal_nan=True) if isinstance(value, float) else indexed == value
        if not same:
            return f"{name}: expected {value} as in the sample, found {indexed} in the index"
    return ""


def check_members(opened: ShardSet, shard: ShardFile, rows: list[int], file: OpenFile) -> Iterator[Fault]:
    """Read the tar as any tar reader would: it must have the members of the index, in this order, and no others."""
    name = shard.name.rpartition("/")[2]
    expected = [
        member_name(opened.reader.key(row), part, opened.reader.ext(row, part))
        for row in rows
        for part in PARTS
        if opened.reader.ext(row, part)
    ]
    try:
        file.seek(0)
        compression = detect_compression(file.read(BLOCK))
        file.seek(0)
        found = [member.name for member in iter_members(open_plain(file, compression))]
    except DataError as error:
        yield Fault(shard=name, key="", problem=f"as a tar: {error}")
        return
    if compression != shard.compression:
        yield Fault(
            shard=name,
            key="",
            problem=f"expected compression {shard.compression} as in the manifest, found {compression}",
        )
    if opened.manifest.dataset == "webdataset":
        expected.sort()  # tars made elsewhere order the members of a sample as they like
        found = sorted(set(found) & set(expected))
    if found != expected:
        at = next(
            (at for at, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]),
            min(len(found), len(expected)),
        )
        names = [names[at] if at < len(names) else "the end" for names in (expected, found)]
        yield Fault(shard=name, key="", problem=f"as a tar: expected member {names[0]}, found {names[1]}")


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
