"""What is wrong with the options of `finetune`, found without torch."""

from collections.abc import Mapping
from typing import Any

from sharding.errors import UsageError, named_by_user
from sharding.reading.check import check_set
from sharding.stores.address import is_remote
from training.checkpoint.cadence import Cadence
from training.claim import check_claim, has_run
from training.config import FinetuneConfig
from training.depth_sets.holdout import meaning_of_wish
from training.depth_sets.subsets import check_validation, choose_subsets, naming_val_where, where_of_val
from training.depth_sets.views import make_augment
from training.finetuning.batches import BatchSplit, split_batch
from training.finetuning.recorded_sets import check_recorded_sets
from training.finetuning.settled import left_out, settle_loss
from training.finetuning.shared_memory import check_room
from training.finetuning.trace import check_recorded_encoder, goes_on_without, is_recorded_encoder
from training.launch.launcher import check_launch, check_precision
from training.lightning.arguments import check_lightning, check_monitored, check_same_learning
from training.loading.order import check_batch
from training.network.encoder_name import agree_on_name
from training.runfolder import (
    SCRATCH,
    WHERE_IT_RUNS,
    check_same,
    check_saved,
    find_weights,
    is_finished,
    load_config,
)
from training.set_options import cache_settings, check_cache
from training.streaming.options import check_budget, streaming_options

MAY_CHANGE = (
    *(*WHERE_IT_RUNS, "micro_batch", "set", "val", "allow_overlap", "lightning"),
    *("channels_last", "compile", "checkpoint_activations", "fused"),
)
"""Options that may differ when a run is resumed; the paths of sets, because the sets are compared by identity; of
`lightning` what does not learn, which is checked apart."""


def check_finetune(config: FinetuneConfig) -> None:
    """Check all that can be checked without torch; makes no file.

    Raises:
        UsageError: An option, or a combination of them, is impossible; a path is missing; the run folder holds another
            run; the depth of a set is not of one kind.
        DataError: A set is damaged, or cannot be reached.
    """
    check_claim(config.out, config.resume)
    if config.resume and has_run(config.out):
        before = load_config(config.out)
        check_same(config, _may_change(config, before))
        check_same_learning(config.lightning, before.get("lightning"))
        check_recorded_encoder(config)
        if is_finished(config.out):
            check_recorded_sets(config)
            return  # nothing else will be read
    check_validation(config)
    make_augment(config)  # its checks
    check_lightning(config.lightning)
    Cadence.parse(config.checkpoint_every)
    check_budget(config.reader, config.max_bad)
    streaming_options(config)
    world = check_launch(config.accelerator, config.devices)
    split = split_batch(config.batch_size, world or 1, config.micro_batch, 2**31 if config.accelerator == "cpu" else 1)
    check_precision(config.precision, config.accelerator)
    _check_step(config)
    check_cache(config)
    if config.encoder != SCRATCH and not goes_on_without(config):
        with named_by_user():
            check_saved(find_weights(config.encoder))
            agree_on_name(config.encoder, config.encoder_name)
    _check_sets(config, split)


def _may_change(config: FinetuneConfig, before: Mapping[str, Any]) -> list[str]:
    """List the options of a resumed run that may be other words than those it was begun with: they mean the same."""
    found = [*MAY_CHANGE, *left_out(config)]
    wishes = [wish for wish in (before.get("holdout_scenes"), config.holdout_scenes) if wish is not None]
    if len(wishes) == 2 and len(set(map(meaning_of_wish, wishes))) == 1:
        found.append("holdout_scenes")
    if before.get("encoder") != config.encoder and is_recorded_encoder(config):
        found.append("encoder")
    return found


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
    if config.freeze_epochs > config.epochs:
        raise UsageError(
            f"--freeze-epochs {config.freeze_epochs}: expected at most the {config.epochs} epochs of the run, in all "
            "of which the encoder then stays as it is"
        )


def _check_sets(config: FinetuneConfig, split: BatchSplit) -> None:
    """Check the sets; of remote ones only what costs no index, the rest is checked when they are opened."""
    val = config.val if config.holdout_scenes is None else None  # else it is not touched
    if not any(map(is_remote, filter(None, (config.set, val)))):
        for address in filter(None, (config.set, val)):
            check_set(address)
        subsets = choose_subsets(config)
        check_batch(config.batch_size, len(subsets.train))
        settle_loss(config, subsets.kind)  # its check
        check_monitored(config.lightning, subsets.kind)
        # The least that it can be: of a GPU the memory is not known here, which may decide the micro-batch.
        check_room(config, subsets, split, pinned=config.accelerator != "cpu")
        return
    check_batch(config.batch_size, check_set(config.set, config.where, cache_settings(config)))
    if val is not None:
        with naming_val_where(config):
            check_set(val, where_of_val(config), cache_settings(config))
