"""Options of the commands that learn: one frozen dataclass a command, nothing heavy imported."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sharding.options import argument, option, parse_bytes, required
from sharding.stores.node_cache import CacheSettings

Accelerator = Literal["auto", "cpu", "gpu"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Reader = Literal["indexed", "webdataset"]
WHERE = "a pandas query on the index, such as \"scene_type == 'outdoor'\""
READER = (
    "indexed: samples by their place in the index, in an exact order; webdataset: whole shards in sequence, for pipes "
    "and stores without ranges"
)
SHUFFLE_BUFFER = "with --reader webdataset: samples of a worker among which the next one is drawn"
PIPE = "with --reader webdataset: command that writes a shard to its standard output, such as 'zstd -dc {url}'"
CACHE = "folder on a disk of this machine that keeps what is fetched from a URL, for all processes and jobs"


def _cache_size() -> Any:
    return option(200 * 10**9, "most that the cache holds", parse=parse_bytes, shown="200GB", metavar="SIZE")


class Cached(Protocol):
    """Options of a command that reads sets."""

    @property
    def cache(self) -> str | None:
        """Folder of the cache."""
        ...

    @property
    def cache_size(self) -> int:
        """Its bytes."""
        ...


def cache_settings(config: Cached) -> CacheSettings | None:
    """The cache that the options ask for."""
    return None if config.cache is None else CacheSettings(folder=config.cache, limit_bytes=config.cache_size)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Options of `depthstream pretrain`."""

    sets: tuple[str, ...] = argument("folders or URLs of shard sets; only their image bytes are read", metavar="SET")
    out: str = required("run folder", metavar="RUN")
    weights: str | None = option(
        None, "how often each set is drawn from, such as 2,1 (default: by size)", metavar="W,W"
    )
    where: str | None = option(None, WHERE, metavar="EXPR")
    augmentation: Literal["conservative", "aggressive"] = option(
        "conservative", "conservative: tilts to 15 degrees, no vertical flip; aggressive: 90 degrees, vertical flips"
    )
    model: str = option("torchvision/resnet50", "encoder, by LightlyTrain's name")
    method: str = option("dino", "LightlyTrain method, such as dino, simclr", metavar="NAME")
    views: Literal["cpu"] = option("cpu", "where views are made")
    epochs: int = option(100, "passes over the sets", metavar="N")
    batch_size: int = option(128, "global batch size, over all devices", metavar="N")
    image_size: int = option(224, "side of the square views in pixels", metavar="PX")
    num_workers: int = option(4, "loader processes of each rank", metavar="N")
    reader: Reader = option("indexed", READER)
    shuffle_buffer: int = option(200, SHUFFLE_BUFFER, metavar="N")
    pipe: str | None = option(None, PIPE, metavar="COMMAND")
    cache: str | None = option(None, CACHE, metavar="DIR")
    cache_size: int = _cache_size()
    devices: str = option("auto", "number of devices, or their ids with commas", metavar="N|0,1")
    accelerator: Accelerator = option("auto", "where to train")
    seed: int = option(0, "seed of order, views and initial weights")
    checkpoint_every: str = option(
        "15min", "how often to save, such as 15min, 2h or 500steps, or epoch; each epoch's end is always saved"
    )
    deterministic: bool = option(
        False, "only algorithms that give the same bits again; slower, and some GPUs lack some"
    )
    resume: bool = option(False, "go on with the run; an empty run starts, a finished one is left as it is")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Options of `depthstream finetune`."""

    set: str = argument("folder or URL of the training set, with depth", metavar="SET")
    val: str = required("folder or URL of the validation set", metavar="SET")
    out: str = required("run folder", metavar="RUN")
    where: str | None = option(None, WHERE + "; applies to both sets", metavar="EXPR")
    encoder: str = option(
        "none", "run folder of `pretrain`, a state dict file, or none for random weights", metavar="RUN|FILE|none"
    )
    encoder_name: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = option("resnet50", "torchvision encoder")
    height: int = option(768, "height of the training crop in pixels", metavar="PX")
    width: int = option(768, "width of the training crop in pixels", metavar="PX")
    loss: Literal["silog", "l1_log", "mse_log", "berhu_log"] = option("silog", "loss on log depth over valid pixels")
    epochs: int = option(50, "passes over the training set", metavar="N")
    batch_size: int = option(32, "global batch size, over all devices and accumulated micro-batches", metavar="N")
    micro_batch: str = option("auto", "samples that a device computes at once", metavar="auto|N")
    learning_rate: float = option(1e-4, "peak learning rate", metavar="X")
    num_workers: int = option(4, "loader processes of each rank", metavar="N")
    reader: Reader = option("indexed", READER)
    shuffle_buffer: int = option(200, SHUFFLE_BUFFER, metavar="N")
    pipe: str | None = option(None, PIPE, metavar="COMMAND")
    cache: str | None = option(None, CACHE, metavar="DIR")
    cache_size: int = _cache_size()
    devices: str = option("auto", "number of devices, or their ids with commas", metavar="N|0,1")
    accelerator: Accelerator = option("auto", "where to train")
    precision: Precision = option("32-true", "number format of the forward pass; losses are always float32")
    seed: int = option(0, "seed of order, augmentation and the decoder's initial weights")
    checkpoint_every: str = option(
        "15min", "how often to save, such as 15min, 2h or 500steps, or epoch; each epoch's end is always saved"
    )
    deterministic: bool = option(
        False, "only algorithms that give the same bits again; slower, and some GPUs lack some"
    )
    resume: bool = option(False, "go on with the run; an empty run starts, a finished one is left as it is")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Options of `depthstream evaluate`."""

    run: str = argument("run folder of `finetune`", metavar="RUN")
    set: str = argument("folder or URL of a set with metric depth", metavar="SET")
    where: str | None = option(None, WHERE, metavar="EXPR")
    checkpoint: Literal["best", "last"] = option("best", "which checkpoint of the run")
    num_workers: int = option(2, "loader processes", metavar="N")
    cache: str | None = option(None, CACHE, metavar="DIR")
    cache_size: int = _cache_size()
    accelerator: Accelerator = option("auto", "where to compute")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Options of `depthstream predict`."""

    run: str = argument("run folder of `finetune`", metavar="RUN")
    images: tuple[str, ...] = argument("image files", metavar="IMAGE")
    out: str = required("folder for the depth maps and pictures", metavar="DIR")
    checkpoint: Literal["best", "last"] = option("best", "which checkpoint of the run")
    accelerator: Accelerator = option("auto", "where to compute")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Options of `depthstream compare`."""

    runs: tuple[str, ...] = argument("run folders of `finetune`, trained and validated on the same sets", metavar="RUN")
    out: str = required("report to write, one self-contained file", metavar="REPORT.html")
    num_workers: int = option(2, "loader processes", metavar="N")
    cache: str | None = option(None, CACHE, metavar="DIR")
    cache_size: int = _cache_size()
    accelerator: Accelerator = option("auto", "where to compute")


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Options of `depthstream profile`."""

    set: str = argument("folder or URL of a shard set", metavar="SET")
    where: str | None = option(None, WHERE, metavar="EXPR")
    samples: int = option(64, "samples a stage is measured on", metavar="N")
    repeats: int = option(5, "times each stage is measured", metavar="N")
    num_workers: int = option(2, "loader processes of the whole chain", metavar="N")
    cache: str | None = option(None, CACHE, metavar="DIR")
    cache_size: int = _cache_size()


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Options of `depthstream demo`."""

    out: str = option("demo", "folder for everything that is made; finished stages are kept", metavar="DIR")
    seed: int = option(0, "seed of the world and of the runs")
