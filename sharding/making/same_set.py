"""What decides the bytes of a set: its source, its options, and the programs that encode."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def tool_version() -> str:
    """The program's version, as manifests record it."""
    return f"depthstream {package_version('depthstream')}"


_ENCODERS = ("depthstream", "zstandard", "pillow", "numpy")


def terms(dataset: str, made: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """What is in a set, one value a name, to compare two sets by.

    Args:
        dataset: Its data set.
        made: All options that change bytes.
        source: Number of files, their bytes, and the fingerprint.
    """
    described = ", ".join(f"{name} {source[name]}" for name in ("files", "bytes", "fingerprint") if name in source)
    return dict(made) | {"source": described, "dataset": dataset}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name each term of `new` that is not so in `old`, with both values."""
    return [
        f"{name} is {old.get(name)!r} there, {value!r} now" for name, value in new.items() if old.get(name) != value
    ]


def encoder_versions() -> dict[str, str]:
    """Versions of the packages that encode: nobody could repeat a set that was made half by one, half by another."""
    return {f"version of {name}": package_version(name) for name in _ENCODERS}


def package_version(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
