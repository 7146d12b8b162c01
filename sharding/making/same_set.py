"""What determines the bytes of a set (source, options, versions of encoders), and how two sets differ in it."""

from collections.abc import Mapping
from typing import Any

from sharding.format.tool import package_version

_ENCODERS = ("depthstream", "zstandard", "pillow", "numpy")


def terms(dataset: str, made: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """Return source and options of a set as flat terms, to compare two sets by.

    Args:
        dataset: "megadepth" or "diode".
        made: All options that change bytes.
        source: "files", "bytes" and "fingerprint", as far as they are known.
    """
    described = ", ".join(f"{name} {source[name]}" for name in ("files", "bytes", "fingerprint") if name in source)
    return dict(made) | {"source": described, "dataset": dataset}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Describe each term of `new` that differs from `old`, with both values, by its name."""
    return {
        name: f"{name} is {old.get(name)!r} there, {value!r} now"
        for name, value in new.items()
        if old.get(name) != value
    }


def encoder_versions() -> dict[str, str]:
    """Return the versions of the packages that encode: a set that mixes two versions could not be reproduced."""
    return {f"version of {name}": package_version(name) for name in _ENCODERS}
