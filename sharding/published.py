"""The archives as their authors publish them: names, sizes and checksums.

From the README of the DIODE devkit; MegaDepth publishes no checksum.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published archive.

    Attributes:
        name: File name.
        md5: Of the compressed file, "" where none is published.
        bytes: Size of the compressed file, 0 where only a rounded one is published.
    """

    name: str
    md5: str = ""
    bytes: int = 0


DIODE = (
    Published(name="train.tar.gz", md5="3a94632398fe1d002d89f11743f748b1"),
    Published(name="val.tar.gz", md5="5c895d09201b88973c8fe4552a67dd85", bytes=2_774_625_282),
    Published(name="train_normals.tar.gz", md5="9c0617ebe1eaf1928fdf3344e1c42aef"),
    Published(name="val_normals.tar.gz", md5="323ccaf60abebdb59705dcd8b529d709"),
)
MEGADEPTH = (Published(name="MegaDepth_v1.tar.gz", bytes=213_461_598_257),)


def by_md5(md5: str) -> Published | None:
    """The published archive that has this checksum, whatever the file is called here."""
    return next((archive for archive in (*DIODE, *MEGADEPTH) if md5 and archive.md5 == md5), None)
