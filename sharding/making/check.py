"""What is wrong with the options of `shard` and `index`, found before they read anything."""

import os
from pathlib import Path
from typing import Protocol

from sharding.config import IndexConfig, ShardConfig, ShardMegadepthConfig
from sharding.errors import UsageError
from sharding.format.choices import makes_jpeg
from sharding.format.index import INDEX_NAME
from sharding.format.manifest import MANIFEST_NAME
from sharding.format.names import LEDGER_NAME, QUARANTINE_NAME, WAITING_NAME
from sharding.machine.files import check_writable
from sharding.reading.missing import suggest_path
from sharding.stores.address import is_remote

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst")


def check_shard(config: ShardConfig) -> None:
    """Check that the source is there and is not an archive's folder, and that the set may be made where it shall be.

    Raises:
        UsageError: It is not; or options of JPEG are given where there is none.
    """
    check_jpeg_options(config)
    source = None if is_remote(config.source) else Path(config.source.removeprefix("file://"))
    folder = None if is_remote(config.set) else Path(config.set.removeprefix("file://"))
    if source is not None:
        check_exists(source, "a folder or an archive of the data set")
        if folder is not None and os.path.realpath(folder) == os.path.realpath(source):
            raise UsageError(f"{folder}: source and set are the same folder; give another SET, below it if you like")
        if source.is_dir():
            _check_unpacked(source)
    if folder is not None:
        check_writable(folder, "SET", folder=True)
        _check_free(folder)


def check_jpeg_options(config: ShardConfig) -> None:
    """Check that options of images that become JPEG are not given where none does.

    Raises:
        UsageError: They are.
    """
    max_side = config.max_side if isinstance(config, ShardMegadepthConfig) else None
    given = {"--jpeg-quality": config.jpeg_quality, "--jpeg-subsampling": config.jpeg_subsampling}
    names = [name for name, value in given.items() if value is not None]
    if names and not makes_jpeg({"preset": config.preset, "max_side": max_side}):
        raise UsageError(
            f"{' and '.join(names)}: expected with --max-side PX or --preset compact, for the images that become JPEG; "
            "without them, none does, and JPEG files keep their bytes: give one as well, or leave this out"
        )


def check_index(config: IndexConfig) -> None:
    """Check that there are tars to read, and the set may be made where it shall be.

    Raises:
        UsageError: There are none, or it may not.
    """
    check_exists(Path(config.tars), "a folder of .tar files, or one")
    if os.path.realpath(config.tars) == os.path.realpath(config.set):
        raise UsageError(f"{config.set}: tars and set are the same folder; give another SET, below it if you like")
    check_writable(config.set, "SET", folder=True)
    _check_folders(Path(config.set))


class HasOut(Protocol):
    """Options with a folder to write to."""

    @property
    def out(self) -> str:
        """The folder."""
        ...


def check_out(config: HasOut) -> None:
    """Check that a folder of generated files may be made.

    Raises:
        UsageError: It cannot be written to, or holds a set.
    """
    check_writable(config.out, "out", folder=True)
    if Path(config.out, MANIFEST_NAME).exists():
        raise UsageError(f"{config.out}: holds a shard set; give another folder")


def check_exists(path: Path, expected: str) -> None:
    """Check that a path exists.

    Raises:
        UsageError: It does not; the message suggests a similar name.
    """
    if not path.exists():
        raise UsageError(f"{path}: expected {expected}, found nothing{suggest_path(path)}")


def _check_free(folder: Path) -> None:
    """Refuse a folder of other files, unless a set is there, or was begun there."""
    if not folder.is_dir() or (folder / MANIFEST_NAME).exists():
        return
    _check_folders(folder)
    if _is_begun(folder / LEDGER_NAME):
        return
    # A run that was killed in its first moment leaves folders, and nothing in them.
    # Hidden files are in nobody's way, but for the ledger.
    empty = {name for name in ("shards", LEDGER_NAME) if not any((folder / name).glob("[!.]*"))}
    others = sorted({LEDGER_NAME, *(path.name for path in folder.glob("[!.]*"))} - empty)
    if others:
        lost = others[0] in ("shards", INDEX_NAME, QUARANTINE_NAME)
        remedy = "; of a set that lost its manifest, or its ledger: delete them, or get a whole copy" if lost else ""
        raise UsageError(f"{folder}: expected a new or empty folder for the set, found {others[0]} in it{remedy}")


def _is_begun(ledger: Path) -> bool:
    """Tell whether this is a ledger: of any version it has files of JSON, or the folder of the spool."""
    return any(ledger.glob("*.json")) or (ledger / Path(WAITING_NAME).name).is_dir()


def _check_folders(folder: Path) -> None:
    """Refuse a set in which a folder that is written to is a link: in one from somebody else it may lead anywhere.

    Raises:
        UsageError: One is.
    """
    for name in ("shards", LEDGER_NAME):
        if (folder / name).is_symlink():
            raise UsageError(
                f"{folder / name}: expected a folder, found a link; to have a set on another disk, move all of it "
                f"there and make {folder} the link"
            )


def _check_unpacked(folder: Path) -> None:
    """Refuse a folder that holds the downloaded archives and nothing else: they are read as they are, one by one."""
    inner = [path for path in folder.iterdir() if not path.name.startswith(".")]
    archives = sorted(path for path in inner if path.name.endswith(_ARCHIVES))
    if archives and not any(path.is_dir() for path in inner):
        listed = " or ".join(map(str, archives[:4]))
        raise UsageError(
            f"{folder}: expected the unpacked data set, found archives; give {listed}: it is read as it is"
        )
