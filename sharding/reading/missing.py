"""What is at a local address instead of a finished set, in words, and what may have been meant."""

import difflib
from pathlib import Path

from sharding.format.manifest import MANIFEST_NAME

_SHOWN = 6  # names in a message, at most


def explain_missing(address: str) -> str:
    """Say what a local address has instead of a finished set; "" if there is one."""
    folder = Path(address.removeprefix("file://"))
    if (folder / MANIFEST_NAME).is_file():
        return ""
    if not folder.exists():
        return f"{address}: expected a shard set with {MANIFEST_NAME}, found nothing{suggest_path(folder)}"
    if not folder.is_dir():
        return f"{address}: expected the folder of a shard set with {MANIFEST_NAME}, found a file"
    sets = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST_NAME}"))
    if sets:
        names = ", ".join([f"{address}/{name}" for name in sets[:_SHOWN]] + ["..."] * (len(sets) > _SHOWN))
        return f"{address}: expected a shard set with {MANIFEST_NAME}, found a folder of sets; give one of {names}"
    return (
        f"{address}: expected a shard set with {MANIFEST_NAME}, found none; a set is finished when its manifest "
        "is written: check the path, or run `depthstream shard` again"
    )


def suggest_path(path: Path) -> str:
    """Return "; did you mean ...?" with a name like the last one of `path` in the same folder; "" if there is none."""
    try:
        names = [inner.name for inner in path.absolute().parent.iterdir()]
    except OSError:
        return f"; {path.parent} is no folder" if not path.absolute().parent.is_dir() else ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""
