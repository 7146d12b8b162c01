"""The command `index`: a set around existing WebDataset tars, which are read once and never changed."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sharding.cli import Outcome
from sharding.config import IndexConfig
from sharding.errors import DataError, UsageError
from sharding.format.index import INDEX_NAME, Row, build_index, check_readable, encode_index
from sharding.format.manifest import MANIFEST_NAME, Manifest, ShardFile
from sharding.format.tool import tool_version
from sharding.machine.files import write_atomically
from sharding.making.foreign_tar import PassedOver, read_rows
from sharding.progress import track

COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.lz4")
"""How the names of tars end that are compressed as a whole."""


def run(config: IndexConfig) -> Outcome:
    """Run `depthstream index`."""
    target = Path(config.set)
    if (target / MANIFEST_NAME).exists():
        raise UsageError(f"{target} holds a set already; choose another folder, or delete that one")
    passed = PassedOver()
    names = name_links(find_tars(Path(config.tars), target, passed))
    _check_places(names, target)
    rows = _read_all(names, passed)
    if not rows:
        found = [f"{config.tars}: expected members named KEY.jpg or KEY.png, found none in {len(names)} tars"]
        raise DataError("; ".join(line.strip() for line in found + passed.lines()))
    # Nothing is written before all tars are read. The manifest is the last: without it there is no set.
    index = encode_index(build_index(rows))
    samples = Counter(row.shard for row in rows)
    shards = tuple(_describe_tar(tar, name, samples[name]) for tar, name in names.items())
    manifest = _describe(target, shards, rows, hashlib.sha256(index).hexdigest())
    encoded = check_readable(manifest, index)
    for tar, name in names.items():
        _link(tar, target, name)
    write_atomically(target / INDEX_NAME, index)
    write_atomically(target / MANIFEST_NAME, encoded)
    data = {
        "set": config.set,
        "samples": len(rows),
        "shards": len(shards),
        "skipped": dict(passed.extensions),
        "passed_over": passed.data(),
        "identity": manifest.identity,
    }
    return Outcome(
        data=data,
        text="\n".join([f"{config.set}: {len(rows)} samples in {len(shards)} tars", *passed.lines()]),
    )


def _describe(target: Path, shards: tuple[ShardFile, ...], rows: list[Row], index_sha256: str) -> Manifest:
    return Manifest(
        name=Path(os.path.realpath(target)).name,
        dataset="webdataset",
        split="",
        tool=tool_version(),
        made={"order": "as found", "tars": len(shards)},
        source={"bytes": sum(shard.bytes for shard in shards)},
        codecs={},
        samples=len(rows),
        quarantined=0,
        index_sha256=index_sha256,
        shards=shards,
    )


def _read_all(names: dict[Path, str], passed: PassedOver) -> list[Row]:
    """Read the rows of all tars.

    Raises:
        DataError: A tar is damaged, or two have samples of the same key.
    """
    rows = list[Row]()
    tar_of = dict[str, Path]()
    for tar, name in track(names.items(), total=len(names), unit="tars", label="index"):
        for row in read_rows(tar, name, passed):
            if (other := tar_of.setdefault(row.key, tar)) != tar:
                raise DataError(f"{tar}, key {row.key}: keys must be unique in a set, found it in {other}, too")
            rows.append(row)
    return rows


def find_tars(path: Path, target: Path, passed: PassedOver) -> list[Path]:
    """Find the tar files below a folder, sorted; or the file itself.

    Args:
        path: File or folder.
        target: Folder of the set, which may be below it.
        passed: Takes tars that are compressed as a whole.

    Raises:
        DataError: There is none, two have the same file name, or a folder cannot be read.
    """
    tars = []
    for file in sorted(_files_below(path, target)) if path.is_dir() else [path]:
        if file.suffix == ".tar" and not file.name.startswith("."):
            tars.append(file)
        elif file == path and os.path.lexists(file):
            tars.append(file)
        elif file.name.lower().endswith(COMPRESSED):
            passed.add("file that is compressed as a whole: decompress it", str(file))
        elif file.name.lower().endswith(".tar"):
            hidden = file.name.startswith(".")
            passed.add("hidden file" if hidden else "file whose name ends in capitals: rename it", str(file))
    if not tars:
        raise DataError("; ".join([f"{path}: expected .tar files, found none", *map(str.strip, passed.lines())]))
    by_name = dict[str, Path]()
    for tar in sorted(tars, key=Path.is_symlink):  # a link to another of them, in a set that was made here, is left out
        other = by_name.setdefault(tar.name, tar)
        if other != tar and not (other.exists() and tar.exists() and other.samefile(tar)):
            raise DataError(f"{path}: two tars have the same file name, {other} and {tar}; a set needs them to differ")
    return sorted(by_name.values())


def _files_below(path: Path, target: Path) -> Iterator[Path]:
    """Yield all files below a folder; links to folders are followed, and each folder is read once."""

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename}: expected a readable folder: {error.strerror}") from error

    seen = {_identity(target)} if target.is_dir() else set()
    for folder, subfolders, names in os.walk(path, followlinks=True, onerror=fail):
        if (identity := _identity(Path(folder))) in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        subfolders.sort()  # so that of two ways to a folder it is always the same one that counts
        yield from (Path(folder, name) for name in names)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def name_links(tars: list[Path]) -> dict[Path, str]:
    """Choose the file name of each tar in the set: its own with letters, digits and `._-`, others replaced by `_`."""
    names = {tar: re.sub(r"^[.-]|[^A-Za-z0-9._-]", "_", tar.name) for tar in tars}
    taken = {tar.name for tar in tars}
    for tar, name in names.items():
        number = 2
        while names[tar] != tar.name and names[tar] in taken:
            names[tar] = f"{name.removesuffix('.tar')}-{number}.tar"
            number += 1
        taken.add(names[tar])
    return names


def _check_places(names: dict[Path, str], target: Path) -> None:
    """Check that a link replaces no file: tars may be in the folder of shards already, but only where they shall be.

    Raises:
        UsageError: It would, or a tar is there under a name that no shard may have.
    """
    folder = target / "shards"
    for tar, name in names.items():
        link = folder / name
        if name != tar.name and os.path.realpath(tar.parent) == os.path.realpath(folder):
            raise UsageError(f"{tar}: expected a name of letters, digits and ._- there; rename it, or give another SET")
        if link.exists() and not link.is_symlink() and not (tar.exists() and link.samefile(tar)):
            raise UsageError(f"{link}: expected nothing, or a link, where the link to {tar} shall be; give another SET")


def _link(tar: Path, target: Path, name: str) -> None:
    """Put a link to the tar into the set, unless it is there already."""
    folder = target / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / name
    if not (link.exists() and link.samefile(tar)):
        link.unlink(missing_ok=True)
        # Relative, so that set and tars can be moved together.
        link.symlink_to(os.path.relpath(tar.resolve(), folder.resolve()))


def _describe_tar(tar: Path, name: str, samples: int) -> ShardFile:
    """Read and hash a tar for the manifest."""
    with tar.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardFile(
        name=f"shards/{name}", samples=samples, bytes=tar.stat().st_size, sha256=digest, compression="none"
    )
