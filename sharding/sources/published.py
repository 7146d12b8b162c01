"""The archives as their authors publish them: names, sizes, checksums, and numbers of samples.

From the README of the DIODE devkit, and from its archives; MegaDepth publishes no checksum.
"""

from dataclasses import dataclass, field

from sharding.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published archive.

    Attributes:
        name: File name.
        md5: Of the compressed file, "" where none is published.
        least_bytes, most_bytes: Its compressed size, within the precision of what is published.
        samples: Number of samples in it, 0 if unknown.
        views: Samples by scene type.
        note: Where other sources differ.
    """

    name: str
    md5: str = ""
    least_bytes: int = 0
    most_bytes: int = 0
    samples: int = 0
    views: dict[str, int] = field(default_factory=dict)
    note: str = ""


_GIB = 1 << 30
_TRAIN = Published(
    name="train.tar.gz",
    md5="3a94632398fe1d002d89f11743f748b1",
    least_bytes=int(80.5 * _GIB),
    most_bytes=int(81.5 * _GIB),
    samples=25_458,
    views={"indoors": 8_574, "outdoor": 16_884},
)
_VAL = Published(
    name="val.tar.gz",
    md5="5c895d09201b88973c8fe4552a67dd85",
    least_bytes=2_774_625_282,
    most_bytes=2_774_625_282,
    samples=771,
    views={"indoors": 325, "outdoor": 446},
    note="the devkit's diode_meta.json lists 220 indoors and 392 outdoor; the archive has more, and published results "
    "use all of them",
)
_MEGADEPTH = Published(
    name="MegaDepth_v1.tar.gz", least_bytes=213_461_598_257, most_bytes=213_461_598_257, samples=128_228
)
_ARCHIVES = {"diode": (_TRAIN, _VAL), "megadepth": (_MEGADEPTH,)}
_SPLITS = {"train": _TRAIN, "val": _VAL}


def publishes_md5(dataset: str) -> bool:
    """Tell whether any archive of the data set has a published checksum."""
    return any(archive.md5 for archive in _ARCHIVES.get(dataset, ()))


def by_size(dataset: str, num_bytes: int) -> Published | None:
    """Return the published archive that has this size; None if there is none."""
    return next((one for one in _ARCHIVES.get(dataset, ()) if one.least_bytes <= num_bytes <= one.most_bytes), None)


def recognise(dataset: str, name: str, num_bytes: int, md5: str) -> str | None:
    """Recognise a published archive.

    Args:
        dataset: "megadepth" or "diode".
        name: Its file name.
        num_bytes: Its size in compressed bytes.
        md5: MD5 of it, "" if it was not computed.

    Returns:
        A sentence for the manifest: which one it is, and what proves it. None if it is none of them.

    Raises:
        DataError: It has the name and size of one, and another checksum.
    """
    for archive in _ARCHIVES.get(dataset, ()):
        if md5 and md5 == archive.md5:
            return f"{archive.name}: has the published md5"
    alike = by_size(dataset, num_bytes)
    if alike is None:
        return None
    if not alike.md5:
        return f"{alike.name}: has the published size; no checksum is published"
    if not md5:
        return f"{alike.name}: has the published size; its md5 was not computed, for it was downloaded in several runs"
    if alike.name == name:
        raise DataError(
            f"{name}: expected the published md5 {alike.md5}, found {md5} in {num_bytes} bytes: the download is "
            "damaged; download it again, and make the set in a new folder"
        )
    return None


def expected_views(dataset: str, split: str) -> Published | None:
    """Return the published archive of a split; None if there is none."""
    return _SPLITS.get(split) if dataset == "diode" else None
