"""Compare a set with its source: each sample must be in the set, bit for bit or within its bound, or in quarantine."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharding.checking.fault import Fault
from sharding.checking.source_samples import ArchiveSamples, FolderSamples
from sharding.codecs.image import decode_image
from sharding.errors import DataError, UsageError
from sharding.format.manifest import MANIFEST_NAME, Manifest
from sharding.format.names import QUARANTINE_NAME
from sharding.format.sample import PARTS
from sharding.limits import MAX_JSON_BYTES, over
from sharding.machine.processes import map_ahead
from sharding.making.encode import Encoded, Recipe, encode
from sharding.reading.shard_set import ShardSet
from sharding.sources import diode, megadepth
from sharding.sources.layout import Layout
from sharding.sources.pairing import Candidate, Refusal
from sharding.sources.quarantine import decode_quarantine
from sharding.sources.source import Readable, is_archive
from sharding.stores.address import is_remote
from sharding.stores.store import Store

COMPARED_AHEAD_BYTES = 128 << 20
"""Maximum source bytes that are read ahead of the comparison."""

LOSSY_LEVELS = 2.0
"""Root mean square, in levels of 255, by which JPEG encodings of one image by two versions of an encoder may differ."""


@dataclass(frozen=True, kw_only=True)
class SourceComparison:
    """The result of comparing a set with its source.

    Attributes:
        samples: Number of source samples that are in the set.
        quarantined: Number of keys of the source that are in quarantine, and not in the set.
        faults: Differences.
    """

    samples: int
    quarantined: int
    faults: list[Fault]


def compare_with_source(opened: ShardSet, root: str) -> SourceComparison:
    """Encode each source sample again and compare it with the set.

    Args:
        opened: The set.
        root: The source, a folder or an archive, on this machine or behind a URL.

    Raises:
        UsageError: The set was made from tars, not from a source.
        DataError: The source cannot be read, or is of another data set.
    """
    manifest = opened.manifest
    layout = layout_of(manifest)
    if is_archive(root):
        samples: ArchiveSamples | FolderSamples = ArchiveSamples(root, layout, manifest.dataset)
    else:
        samples = FolderSamples(root, layout, without=None if is_remote(opened.url) else opened.url)
    accounted = _Accounted.of(opened)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compared = map_ahead(
            lambda one: pool.submit(accounted.compare, one), samples, lambda one: one[0].bytes, COMPARED_AHEAD_BYTES
        )
        with closing(compared) as pairs:
            found = {candidate.key: problem for (candidate, _), problem in pairs}
    # A duplicate that arrived too late has the key of a complete sample, whose result is kept.
    for refusal in samples.refused:
        found.setdefault(refusal.key, accounted.compare_bad(refusal.key, refusal.reason))
    faults = _compare_archives(manifest, samples, root)
    faults += [Fault(shard="", key=key, problem=problem) for key, problem in found.items() if problem]
    faults += [Fault(shard="", key=key, problem=f"in the set, not in {root}") for key in accounted.rows.keys() - found]
    return SourceComparison(
        samples=len(found.keys() & accounted.rows.keys()),
        quarantined=len((found.keys() & accounted.quarantined) - accounted.rows.keys()),
        faults=faults,
    )


def layout_of(manifest: Manifest) -> Layout:
    """Return the layout of the source of a set.

    Raises:
        UsageError: The set was made from tars.
    """
    if manifest.dataset == "megadepth":
        return megadepth.layout(_made(manifest, "with_depth"))
    if manifest.dataset == "diode":
        return diode.layout(_made(manifest, "split"), _made(manifest, "scene_type"))
    raise UsageError(f"--against compares sets of megadepth and diode, this one is {manifest.dataset}")


def _made(manifest: Manifest, option: str) -> Any:
    """Return an option with which the set was made.

    Raises:
        DataError: The manifest lacks it.
    """
    if option not in manifest.made:
        raise DataError(f"{MANIFEST_NAME}: made: expected a field {option}, found none; it was edited or damaged")
    return manifest.made[option]


def _read_quarantine(store: Store, where: str) -> list[Refusal]:
    """Read the quarantine of a set; a set without it refused nothing.

    Raises:
        DataError: It is too large, or damaged.
    """
    if (size := store.size(QUARANTINE_NAME)) is None:
        return []
    if size > MAX_JSON_BYTES:
        raise DataError(f"{where}: {over(f'found {size} bytes', MAX_JSON_BYTES)}")
    return decode_quarantine(store.read_all(QUARANTINE_NAME), where)


def _compare_archives(manifest: Manifest, samples: FolderSamples | ArchiveSamples, root: str) -> list[Fault]:
    """Check fingerprint and MD5 of the source; a folder is not compared with an archive of the same data."""
    known = manifest.source
    if ("archive" in known) != isinstance(samples, ArchiveSamples):
        return []
    if samples.fingerprint != known.get("fingerprint"):
        problem = f"{root} is not the source this set was made from: its names, sizes or ends differ"
    elif samples.md5 and known.get("md5") and samples.md5 != known["md5"]:
        problem = f"{root}: expected md5 {known['md5']}, found {samples.md5}"
    else:
        return []
    return [Fault(shard="", key="", problem=problem)]


@dataclass(frozen=True, kw_only=True)
class _Accounted:
    """The keys that a set accounts for: rows of its index, and lines of its quarantine.

    Attributes:
        opened: The set.
        recipe: How its samples were encoded.
        rows: Key -> row of the index.
        quarantined: Keys in quarantine.
    """

    opened: ShardSet
    recipe: Recipe
    rows: Mapping[str, int]
    quarantined: frozenset[str]

    @staticmethod
    def of(opened: ShardSet) -> "_Accounted":
        manifest, store = opened.manifest, opened.reader.store
        _made(manifest, "preset")  # a recipe has a default, which is nothing to verify by
        refused = _read_quarantine(store, f"{opened.url}/{QUARANTINE_NAME}")
        return _Accounted(
            opened=opened,
            recipe=Recipe.of(manifest.dataset, manifest.made),
            rows={key: row for row, key in enumerate(opened.rows["key"])},
            quarantined=frozenset(one.key for one in refused),
        )

    def compare(self, sample: tuple[Candidate, Readable]) -> str:
        """Compare a source sample with the set; return what is wrong, "" if nothing is."""
        candidate, source = sample
        try:
            encoded = encode(source, candidate, self.recipe)
        except DataError as error:
            return self.compare_bad(candidate.key, str(error))
        if candidate.key in self.rows:
            return self._compare(self.rows[candidate.key], encoded)
        return "" if candidate.key in self.quarantined else "in the source, not in the set"

    def compare_bad(self, key: str, reason: str) -> str:
        """Check that a bad source sample is in quarantine only; return what is wrong, "" if nothing is."""
        if key in self.rows:
            return f"in the set, but its source is bad: {reason}"
        return "" if key in self.quarantined else f"bad in the source, and not in quarantine: {reason}"

    def _compare(self, row: int, encoded: Encoded) -> str:
        try:
            stored = self.opened.reader.read_encoded([row], PARTS)[0]
        except DataError as error:
            return str(error)
        # `meta` holds source paths, which differ between a folder and an archive of the same data.
        differing = [part for part in PARTS if part != "meta" and not self._is_same(row, part, stored, encoded)]
        return f"{' and '.join(differing)} differ from the source" if differing else ""

    def _is_same(self, row: int, part: str, stored: Mapping[str, bytes], encoded: Encoded) -> bool:
        """Tell whether a stored part equals the one encoded now, or is a JPEG within `LOSSY_LEVELS` of it."""
        ext, payload = encoded.parts.get(part, ("", None))
        if stored.get(part) == payload and self.opened.reader.ext(row, part) == ext:
            return True
        if part != "image" or self.opened.reader.ext(row, part) != ext or payload is None or ext != "jpg":
            return False
        # float32 (H, W, 3), levels 0..255: a difference of uint8 would wrap around.
        here, now = (decode_image(data).astype(np.float32) for data in (stored["image"], payload))
        return here.shape == now.shape and float(np.sqrt(np.mean((here - now) ** 2))) <= LOSSY_LEVELS
