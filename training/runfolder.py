"""The run folder: names of its files, its `config.yaml`, its checkpoints."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Count, Text
from sharding.hiding import without_arguments
from sharding.limits import MAX_ENCODER_BYTES
from sharding.machine.files import write_atomically
from sharding.option_file import read_file
from sharding.options import options_of
from sharding.plain import read_plain
from sharding.progress import is_rank_zero
from sharding.stores.address import shown
from training.config import FinetuneConfig, PretrainConfig
from training.run_files import read_json, read_text
from training.torch_file import check_torch_file

CONFIG_NAME = "config.yaml"
CHECKPOINTS_NAME = "checkpoints"
"""Folder of the checkpoints, below the run folder."""

ENCODER_NAME = "encoder.pt"
"""What a pretraining run leaves in its folder: a torchvision state dict."""

SCRATCH = "none"
"""Name of an encoder that means random weights."""

METRICS_NAME, CURVES_NAME, SETS_NAME = "metrics.json", "curves.csv", "sets.json"
TENSORBOARD_NAME, LIGHTLY_NAME, LIGHTLY_CACHE_NAME = "tensorboard", "lightly", "lightly-cache"
LIGHTNING_NAME, WANDB_NAME = "lightning", "wandb"
"""What else the two trainers leave in a run folder."""


def save_config(out: str | Path, config: Any) -> None:
    """Write the resolved options to `OUT/config.yaml` (rank 0 only), without secrets; `--config` reads it."""
    if is_rank_zero():
        fields = without_secrets(dataclasses.asdict(config))
        text = yaml.dump(fields, Dumper=_OptionsDumper, sort_keys=False)
        write_atomically(Path(out) / CONFIG_NAME, text.encode())


class _OptionsDumper(yaml.SafeDumper):
    """Writes text in quotes where `read_file` would read a number, a boolean or null in a mapping."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = read_plain(text) == text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_OptionsDumper.add_representer(str, _represent_text)


def without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a file has them: lists for tuples, addresses without a login, a command without arguments.

    A run that is resumed needs its `--pipe` again, and the login of an address.
    """
    return {name: _written(name, value) for name, value in fields.items()}


def _written(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_written(name, one) for one in value]
    if isinstance(value, dict):
        return {key: _written("", one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    return without_arguments(value) if name == "pipe" else shown(value)


def load_config(run: str | Path) -> dict[str, Any]:
    """Read the options a run was made with; they are checked as those of a command line are.

    Raises:
        DataError: There is no such run folder, or its options are none of this version's.
    """
    path = Path(run) / CONFIG_NAME
    if not path.exists():
        raise DataError(
            f"{run}: expected a run folder with {CONFIG_NAME}, found none; is it the folder given as --out?"
        )
    text = read_text(path)  # a regular file of text, before the parser opens it
    options = options_of(PretrainConfig if re.search(r"(?m)^sets:", text) else FinetuneConfig)
    try:
        found = read_file(str(path), options)
    except UsageError as error:
        raise DataError(f"{str(error).removeprefix('--config ')}; expected the options of a run") from error
    if missing := [one.name for one in options if one.is_required and one.name not in found]:
        raise DataError(f"{path}: expected the options of a run, found none named {', '.join(missing)}")
    return without_secrets(found)  # an older one has a whole command


WHERE_IT_RUNS = (
    *("out", "num_workers", "cache", "cache_size", "pipe"),
    *("devices", "accelerator", "checkpoint_every", "max_bad", "resume"),
)
"""Options that may differ when a run is resumed: where it is computed and when it ends early, not what it learns."""


def check_same(config: Any, may_change: Collection[str]) -> None:
    """Check that a run folder, if there is a run in it, was begun with these options.

    Args:
        config: Options of the resumed run; `config.out` is its folder.
        may_change: Fields that may differ: where the run is computed, not what it learns.

    Raises:
        UsageError: It was not; the message has the option and both values.
    """
    if not (Path(config.out) / CONFIG_NAME).is_file():
        return
    # An older version did what the defaults of the options do that it did not have yet.
    defaults = {one.name: one.default for one in dataclasses.fields(config)}
    before = without_secrets(defaults) | load_config(config.out)
    for name, value in without_secrets(dataclasses.asdict(config)).items():
        if name not in may_change and before[name] != value:
            option = name if isinstance(value, dict) else "--" + name.replace("_", "-")
            raise UsageError(
                f"--resume: the run was begun with {option} {before[name]}, not {value}; repeat its options, or begin "
                "another run with another --out"
            )


Which = Literal["best", "last"]


def checkpoint_path(run: str | Path, which: Which) -> Path:
    """Return the path RUN/checkpoints/WHICH.ckpt, whether the file exists or not."""
    return Path(run) / CHECKPOINTS_NAME / f"{which}.ckpt"


def find_checkpoint(source: str | Path, which: Which = "last") -> Path:
    """Find the checkpoint that `source` refers to: a file, or a run folder of `finetune`.

    Raises:
        DataError: There is none.
    """
    path = Path(source)
    file = checkpoint_path(path, which) if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"expected a checkpoint at {file}, found none; give a run folder of `depthstream finetune`, or a checkpoint"
        )
    return file


def find_weights(source: str | Path) -> Path:
    """Find the state dict file of `source`: a run folder of `pretrain`, or the file itself.

    Raises:
        DataError: There is no such file.
    """
    path = Path(source)
    file = path / ENCODER_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"expected an encoder at {file}, found none; give the run folder of a finished `depthstream pretrain`, a "
            f"torchvision state dict file, or {SCRATCH!r} for random weights"
        )
    return file


def check_saved(file: Path) -> None:
    """Check that torch saved a file, and that it holds plain values; see `check_torch_file`.

    Raises:
        DataError: It has not.
    """
    check_torch_file(file, "a state dict of torch", MAX_ENCODER_BYTES)


FORMER_MONITOR: Literal["abs_rel"] = "abs_rel"
"""Metric by which runs that do not record theirs chose the best epoch; such a run keeps it when it is resumed."""


class SetRecord(msgspec.Struct):
    """A subset that a run used, as its metrics.json describes it; older runs recorded less.

    Attributes:
        identity: Hash of the set's content.
        name: Name of the set.
        where: Condition on the index; None means all.
        samples: Samples of the subset.
        path: Absolute path, or URL without a login; None where it was not recorded.
        holdout: Scenes that were held out of the training set; None without hold-out.
    """

    identity: Text
    name: Text = ""
    where: Text | None = None
    samples: Count = 0
    path: Text | None = None
    holdout: list[Text] | None = None


class _Metrics(msgspec.Struct):
    finished: bool = False


def is_finished(out: str | Path) -> bool:
    """Tell whether a run folder contains a finished run of `finetune`.

    Raises:
        DataError: Its metrics.json is damaged.
    """
    file = Path(out) / METRICS_NAME
    return file.exists() and read_json(file, _Metrics).finished
