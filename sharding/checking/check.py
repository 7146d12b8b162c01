"""What is wrong with the options of `verify` and `inspect`, found before they read anything."""

from pathlib import Path

from sharding.config import InspectConfig, VerifyConfig
from sharding.errors import UsageError
from sharding.machine.files import check_kind, check_writable
from sharding.reading.check import check_set
from sharding.reading.missing import suggest_path
from sharding.stores.address import is_remote


def check_verify(config: VerifyConfig) -> None:
    """Check that the source is there; that there is no set is for `verify` to report.

    Raises:
        UsageError: It is not.
    """
    if config.against and not is_remote(config.against):
        source = Path(config.against.removeprefix("file://"))
        if not source.exists():
            raise UsageError(
                f"--against {source}: expected a folder or an archive, found nothing{suggest_path(source)}"
            )


def check_inspect(config: InspectConfig) -> None:
    """Check that there is a set, and the contact sheet can be written.

    Raises:
        UsageError: There is none, or the sheet cannot be a file there.
        DataError: The set is damaged, or cannot be reached.
    """
    if config.grid:
        check_writable(config.grid, "--grid", folder=False)
        check_kind(config.grid, "--grid", "a picture", b"\x89png")
    check_set(config.set, config.where)
