"""What is wrong with the options of `pretrain`, found without torch."""

from pathlib import Path

from sharding.errors import DataError, UsageError
from sharding.machine.files import check_kind, check_writable
from sharding.reading.check import check_set
from training.checkpoint.cadence import Cadence
from training.checkpoint.newest import LAST_NAME
from training.claim import check_claim, has_run
from training.config import PretrainConfig
from training.launch.launcher import check_launch, check_precision
from training.lightlytrain.arguments import check_arguments
from training.lightlytrain.methods import check_method
from training.loading.order import check_batch
from training.runfolder import CHECKPOINTS_NAME, ENCODER_NAME, WHERE_IT_RUNS, check_same
from training.set_options import cache_settings, check_cache
from training.streaming.options import check_budget, streaming_options
from training.torch_file import check_torch_file

MAY_CHANGE = (*WHERE_IT_RUNS, "sets", "loader_args", "loggers", "preview")
"""Options that may differ when a run is resumed; the paths of sets, because the sets are compared by identity."""

PLAIN = (
    "a checkpoint of `depthstream pretrain` with plain values alone (earlier versions wrote whole modules, which "
    "only running code from the file could read: finish such a run with that version, or begin another with another "
    "--out)"
)
"""What a checkpoint should be, for messages."""


def check_pretrain(config: PretrainConfig) -> None:
    """Check all that can be checked without torch; makes no file.

    Raises:
        UsageError: An option, or a combination of them, is impossible; a path is missing; the run folder holds another
            run.
        DataError: A set is damaged, or cannot be reached.
    """
    check_claim(config.out, config.resume)
    if config.resume and (Path(config.out) / ENCODER_NAME).is_file():
        return  # finished: nothing will be read
    if config.resume and has_run(config.out):
        # "auto" is what the run has, whatever device it goes on with.
        check_same(config, (*MAY_CHANGE, *(("precision",) if config.precision == "auto" else ())))
    Cadence.parse(config.checkpoint_every)
    check_budget(config.reader, config.max_bad)
    if config.preview is not None:
        check_writable(config.preview, "--preview", folder=False)
        check_kind(config.preview, "--preview", "a picture", b"\x89png")
    weights = parse_weights(config.weights, len(config.sets))
    if streaming_options(config) and weights:
        raise UsageError("--weights draws samples by their place in the index, which --reader webdataset does not use")
    check_arguments(config)
    check_precision(config.precision, config.accelerator)
    check_cache(config)
    world = check_launch(config.accelerator, config.devices)
    check_split(config, world or 1)
    check_method(config, world)
    if config.checkpoint is not None and not (config.resume and has_run(config.out)):
        find_start(config.checkpoint)
    check_batch(
        config.batch_size, sum(check_set(address, config.where, cache_settings(config)) for address in config.sets)
    )


def check_split(config: PretrainConfig, world: int) -> None:
    """Check that a global batch can be split over `world` processes and their micro-batches.

    Raises:
        UsageError: It cannot.
    """
    turns = config.gradient_accumulation_steps
    if config.batch_size % (world * turns):
        micro = f", of {turns} micro-batches each" if turns > 1 else ""
        raise UsageError(
            f"--batch-size {config.batch_size} is that of all {world} processes{micro}: give a multiple of "
            f"{world * turns}"
        )


def find_start(source: str) -> Path:
    """Return the checkpoint that `--checkpoint` means, a file or the last one of a run; see `check_torch_file`.

    Raises:
        UsageError: There is none, or nothing but running code from the file could read it.
    """
    file = Path(source) / CHECKPOINTS_NAME / LAST_NAME if Path(source).is_dir() else Path(source)
    if not file.is_file():
        raise UsageError(f"--checkpoint {source}: expected a checkpoint at {file}, found none")
    try:
        check_torch_file(file, PLAIN)
    except DataError as error:
        raise UsageError(
            f"--checkpoint: {error}; LightlyTrain's own hold whole modules: if you trust such a file, give it to "
            "lightly_train.pretrain(**stream_arguments(SET), checkpoint=FILE, ...)"
        ) from error
    return file


def parse_weights(text: str | None, sets: int) -> list[float] | None:
    """Read text such as "2,1": a weight for each of `sets` sets, None for no weights.

    Raises:
        UsageError: It is something else.
    """
    if text is None:
        return None
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != sets or not all(1e-6 <= weight <= 1e6 for weight in weights):
        raise UsageError(
            f"--weights {text}: expected a positive number for each of {sets} sets, such as 2,1 (1e-6 to 1e6)"
        )
    return weights
