"""Where a run comes from: command, versions, revision, device, and the encoder with its pretraining.

The entries are those of the first start; a resumed run keeps them, and adds what differs in a later start to `resumes`.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Text
from sharding.hiding import hide, without_arguments
from sharding.progress import say
from sharding.stores.address import shown
from training.checkpoint.newest import LAST_NAME, PREVIOUS_NAME
from training.config import FinetuneConfig
from training.run_files import file_sha256, find_versions, read_json
from training.runfolder import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    ENCODER_NAME,
    METRICS_NAME,
    SCRATCH,
    SETS_NAME,
    find_weights,
    load_config,
)

PACKAGES = (
    *("depthstream", "torch", "torchvision", "pytorch-lightning", "fastai", "numpy"),
    *("opencv-python-headless", "pillow"),
)
"""Packages that decide what a run computes."""

_GIT_S = 10.0
_SHOWN_DIGITS = 12

Trace = dict[str, Any]
"""versions, revision, command, started, device, encoder_sha256, pretrain; and resumes, a list of later starts."""


def take_trace(config: FinetuneConfig, device: str) -> Trace:
    """Collect the entries of `metrics.json` that tell where this start of a run comes from.

    Args:
        config: Options of the run.
        device: What it is computed on, in words.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": describe_command(sys.argv, os.environ),
        "versions": find_versions(PACKAGES),
        "revision": find_revision(),
        "device": device,
        "encoder_sha256": hash_encoder(config.encoder),
        "pretrain": read_pretraining(config.encoder),
    }


def continued(first: Trace, now: Trace) -> Trace:
    """Return the trace of a run that goes on: that of its first start, and what differs in this one.

    Args:
        first: From the checkpoint; {} of a run that an earlier version began, of which nothing is known.
        now: Of this start.
    """
    differs = {name: value for name, value in now.items() if name == "started" or first.get(name) != value}
    return first | {"resumes": [*first.get("resumes", []), differs]}


def describe_command(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Quote a command for a shell, without logins, signatures, secrets of the environment, and arguments of --pipe."""
    before = ["", *words]
    return shlex.join(_without_secret(word, last, environment) for word, last in zip(words, before, strict=False))


def _without_secret(word: str, before: str, environment: Mapping[str, str]) -> str:
    flag, mark, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if "--pipe" in (flag, before):
        return flag + mark + without_arguments(value)
    return hide(flag + mark + shown(value), environment)


def find_revision() -> str | None:
    """Return the git revision of the checkout that this package lies in; "+" follows if tracked files differ from it.

    None for an installed package, also in an environment that lies in another project's checkout, and without git.
    """
    file = Path(__file__).resolve()
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    return _git(file.parent, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+")


def _git(folder: Path, *arguments: str) -> str | None:
    """Run git, without what its variables of the environment would redirect; None if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=_GIT_S,
            check=True,
        )
        return done.stdout.decode().strip()
    return None


def read_pretraining(encoder: str) -> dict[str, Any] | None:
    """Read the options and the sets of the run of `pretrain` that an encoder is from; None if it is from no such run.

    Args:
        encoder: The run folder, or the `encoder.pt` in it.
    """
    path = Path(encoder)
    folder = path.parent if path.name == ENCODER_NAME and not path.is_dir() else path
    if encoder == SCRATCH or not (folder / CONFIG_NAME).is_file():
        return None
    with suppress(DataError):  # other files than those of a run
        config = load_config(folder)
        if "sets" in config:
            return {"config": config, "sets": read_json(folder / SETS_NAME, list[dict[str, Any]])}
    return None


def hash_encoder(encoder: str) -> str | None:
    """Compute the SHA-256 of an encoder's file in hexadecimal; None for random weights, or if the file is gone."""
    if encoder == SCRATCH or (file := _file_of(encoder)) is None:
        return None
    return file_sha256(file)


def _file_of(encoder: str) -> Path | None:
    with suppress(DataError):
        return find_weights(encoder)
    return None


class _Began(msgspec.Struct):
    encoder_sha256: Text | None = None  # of an older run, too


def check_recorded_encoder(config: FinetuneConfig) -> None:
    """Check the encoder of a resumed run against its metrics.json, if an epoch of it has ended; see `check_encoder`."""
    check_encoder(config.encoder, _recorded_sha256(config.out))


def is_recorded_encoder(config: FinetuneConfig) -> bool:
    """Tell whether the file of --encoder has the content that a resumed run began with, by its metrics.json.

    False if that is not known, and for random weights.
    """
    before = _recorded_sha256(config.out)
    return before is not None and hash_encoder(config.encoder) == before


def _recorded_sha256(out: str) -> str | None:
    file = Path(out) / METRICS_NAME
    return read_json(file, _Began).encoder_sha256 if file.exists() else None


def check_encoder(encoder: str, before: str | None) -> None:
    """Check that the file of an encoder is the one that a run began with; one that is gone is not needed any more.

    Args:
        encoder: Value of --encoder.
        before: Its SHA-256 when the run began; None if it is not known.

    Raises:
        UsageError: It is another one; the message has the first digits of both.
    """
    now = hash_encoder(encoder)
    if before is None or now in (None, before):
        return
    raise UsageError(
        f"--resume: the run began from an encoder with sha256 {before[:_SHOWN_DIGITS]}, but {find_weights(encoder)} "
        f"has {str(now)[:_SHOWN_DIGITS]} now, so it was replaced or pretrained again; put the former file there, or "
        "begin another run with another --out"
    )


def goes_on_without(config: FinetuneConfig) -> bool:
    """Tell whether the encoder's file is gone, and not needed: the run is resumed from weights in its checkpoint."""
    if config.encoder == SCRATCH or not config.resume:
        return False
    saved = any((Path(config.out) / CHECKPOINTS_NAME / name).is_file() for name in (LAST_NAME, PREVIOUS_NAME))
    return saved and _file_of(config.encoder) is None


def weights_to_begin_with(config: FinetuneConfig) -> str:
    """Return the encoder to build the network from: "none" if `goes_on_without`, which is said; else that given."""
    if not goes_on_without(config):
        return config.encoder
    say(f"--encoder {config.encoder} is gone: the run goes on from the weights in its checkpoint")
    return SCRATCH
