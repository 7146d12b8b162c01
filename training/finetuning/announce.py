"""What is said before a run trains: what it trains, on what, and what a step costs."""

from torch import nn

from sharding.progress import say
from sharding.reading.shard_set import DEPTH_PARTS
from training.config import FinetuneConfig
from training.depth_sets.crops import announce_small_images
from training.depth_sets.subsets import announce_subsets
from training.finetuning.batches import BatchSplit
from training.finetuning.depth_data import DepthData
from training.finetuning.memory import describe_cost
from training.finetuning.objective import announce_scale
from training.finetuning.settled import known_loss
from training.loading.reading_cost import announce_reading
from training.network.unet import DepthNetwork, count_parameters
from training.runfolder import SCRATCH
from training.streaming.announce import announce_streaming
from training.streaming.options import streaming_options


def announce_run(config: FinetuneConfig, data: DepthData, split: BatchSplit, unet: nn.Module) -> None:
    """Say what is trained, from what, on how much, and what a step and the reading of an epoch cost."""
    origin = "random weights" if config.encoder == SCRATCH else config.encoder
    steps = data.sampler.num_steps
    batch = f"batch {config.batch_size} = {split.world} ranks x {split.accumulation} x {split.micro_batch}"
    length = f"{config.epochs} x {steps} steps"
    parameters = f"{count_parameters(unet) / 1e6:.1f} M parameters"
    say(
        f"finetune: {config.encoder_name} U-Net, {parameters}, encoder from {origin}; "
        f"{len(data.train)} samples, validated on {len(data.val)}; {batch}; {length} -> {config.out}"
    )
    if isinstance(unet, DepthNetwork):
        say(describe_cost(config, split))
    announce_scale(known_loss(config), data.subsets.kind)
    announce_subsets(data.subsets)
    announce_small_images(config, data.train)
    if streaming := streaming_options(config):
        announce_streaming([data.train], DEPTH_PARTS, config.num_workers, streaming)
    for samples in (data.val,) if streaming else (data.train, data.val):
        announce_reading(samples, DEPTH_PARTS, config.num_workers)
