"""What is wrong with the options of `pretrain`, found without torch."""

from pathlib import Path

from sharding.errors import UsageError
from sharding.reading.check import check_set
from training.checkpoint.cadence import Cadence
from training.claim import check_claim, has_run
from training.config import PretrainConfig, cache_settings, check_cache
from training.launch.launcher import check_launch, check_precision
from training.loading.order import check_batch
from training.runfolder import ENCODER_NAME, WHERE_IT_RUNS, check_same
from training.streaming.options import check_budget, streaming_options

MAY_CHANGE = (*WHERE_IT_RUNS, "sets")
"""Options that may differ when a run is resumed; the paths of sets, because the sets are compared by identity."""


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
    weights = parse_weights(config.weights, len(config.sets))
    if streaming_options(config) and weights:
        raise UsageError("--weights draws samples by their place in the index, which --reader webdataset does not use")
    check_precision(config.precision, config.accelerator)
    check_cache(config)
    world = check_launch(config.accelerator, config.devices)
    if world and config.batch_size % world:
        raise UsageError(f"--batch-size {config.batch_size} is that of all {world} processes: give a multiple of it")
    check_batch(
        config.batch_size, sum(check_set(address, config.where, cache_settings(config)) for address in config.sets)
    )


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
