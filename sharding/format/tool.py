"""Versions of programs, as manifests record them, and which of them reads a set that this one does not know."""

from importlib.metadata import PackageNotFoundError, version

from sharding.escaping import shorten


def tool_version() -> str:
    """Return the version of this program."""
    return f"depthstream {package_version('depthstream')}"


def package_version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def needed_tool(tool: str) -> str:
    """Say what reads a set of which this program does not know the encodings, or the format.

    Args:
        tool: What made the set, as its manifest has it.
    """
    if tool == tool_version():
        return "it was edited or damaged"
    return f"it was made by {shorten(tool, 80)}: use that version or a newer one, this is {tool_version()}"
