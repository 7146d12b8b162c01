"""What is wrong with the options of `finetune`, found without torch."""

from sharding.errors import DataError, UsageError, named_by_user
from sharding.reading.check import check_set
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.checkpoint.cadence import Cadence
from training.claim import check_claim, has_run
from training.config import FinetuneConfig, cache_settings, check_cache
from training.finetuning.batches import split_batch
from training.launch.launcher import check_launch, check_precision
from training.lightning.arguments import check_lightning, check_same_learning
from training.loading.order import check_batch
from training.model.encoder_name import agree_on_name
from training.runfolder import (
    SCRATCH,
    WHERE_IT_RUNS,
    check_same,
    check_saved,
    find_weights,
    is_finished,
    load_config,
)
from training.streaming.options import check_budget, streaming_options

MAY_CHANGE = (
    *(*WHERE_IT_RUNS, "micro_batch", "set", "val", "lightning"),
    *("channels_last", "compile", "checkpoint_activations", "fused"),
)
"""Options that may differ when a run is resumed; the paths of sets, because the sets are compared by identity; of
`lightning` what does not learn, which is checked apart."""


def check_finetune(config: FinetuneConfig) -> None:
    """Check all that can be checked without torch; makes no file.

    Raises:
        UsageError: An option, or a combination of them, is impossible; a path is missing; the run folder holds another
            run.
        DataError: A set is damaged, cannot be reached, or its depth is not in metres.
    """
    check_claim(config.out, config.resume)
    if config.resume and has_run(config.out):
        check_same(config, MAY_CHANGE if config.encoder_name else (*MAY_CHANGE, "encoder_name"))
        check_same_learning(config.lightning, load_config(config.out).get("lightning"))
        if is_finished(config.out):
            return  # nothing will be read
    check_lightning(config.lightning)
    Cadence.parse(config.checkpoint_every)
    check_budget(config.reader, config.max_bad)
    streaming_options(config)
    world = check_launch(config.accelerator, config.devices)
    split_batch(config.batch_size, world or 1, config.micro_batch, 1)
    check_precision(config.precision, config.accelerator)
    _check_step(config)
    check_cache(config)
    if config.encoder != SCRATCH:
        with named_by_user():
            check_saved(find_weights(config.encoder))
            agree_on_name(config.encoder, config.encoder_name)
    samples, _ = (_check_depth(address, config) for address in (config.set, config.val or ""))
    check_batch(config.batch_size, samples)


def is_clipped_scaled(config: FinetuneConfig) -> bool:
    """Tell whether gradients must be unscaled before they are clipped, which a fused optimizer does too late."""
    return config.precision == "16-mixed" and config.clip > 0


def _check_step(config: FinetuneConfig) -> None:
    """Check that the options of a step go together.

    Raises:
        UsageError: They do not.
    """
    if config.fused and is_clipped_scaled(config):
        raise UsageError(
            "--fused: with --precision 16-mixed gradients are clipped before the fused optimizer unscales them; give "
            "--no-fused, --clip 0 or --precision bf16-mixed"
        )
    if config.sync_batchnorm and config.accelerator == "cpu":
        raise UsageError("--sync-batchnorm: torch shares BatchNorm statistics over GPUs alone; leave it out")
    lightning = config.lightning or {}
    if isinstance(least := lightning.get("min_epochs"), int) and least > config.epochs:
        raise UsageError(f"lightning: min_epochs {least}: expected at most the {config.epochs} of --epochs")
    if "gradient_clip_algorithm" in lightning and not config.clip:
        raise UsageError("lightning: gradient_clip_algorithm: --clip 0 clips nothing; leave one of them out")
    if config.freeze_epochs >= config.epochs:
        raise UsageError(
            f"--freeze-epochs {config.freeze_epochs}: expected fewer than the {config.epochs} epochs of the run, in "
            "the rest of which the encoder is trained"
        )


def _check_depth(address: str, config: FinetuneConfig) -> int:
    """Check a set, and its depth if that costs no transfer; return its number of samples."""
    if is_remote(address):
        return check_set(address, config.where, cache_settings(config))
    check_set(address)
    opened = ShardSet(address, config.where)
    check_metric(opened)
    return len(opened)


def check_metric(samples: ShardSet) -> None:
    """Check that all samples have depth in metres.

    Raises:
        DataError: Some have other depth; the message lists the kinds found.
    """
    kinds = samples.index["kind"].value_counts().to_dict()
    if set(kinds) != {"metric"}:
        found = ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
        raise DataError(
            f"{samples.url}: fine-tuning needs depth in metres, found {found}; choose the subset that has it with "
            "--where \"kind == 'metric'\", or give another set"
        )
