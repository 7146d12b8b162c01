"""Options of the commands that learn: one frozen dataclass a command, nothing heavy imported.

An option that several commands share is declared once, in a class that their dataclasses inherit from. `config.yaml`
lists inherited options first, and those of the last base before those of the first (dataclasses collect fields in
reverse method resolution order); `--help` lists a command's own options first.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sharding.options import argument, option, required
from training.depth_options import AugmentOptions, LossOptions, ProtocolChoice, ValidationOptions
from training.lightly_options import LightlyOptions, Method, PretrainPrecision
from training.photo_options import PhotoOptions
from training.set_options import WHERE, CacheOptions, StreamingOptions, SubsetOptions
from training.step_options import ComputationOptions, OptimizerOptions

Accelerator = Literal["auto", "cpu", "gpu"]
ViewsOn = Literal["cpu", "gpu"]
EncoderName = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
MAX_SEED = 2**32 - 1
"""Largest seed that numpy's and Lightning's generators both take."""

MAX_WORKERS = 1000
"""Most loader processes of a rank: more than any machine has cores, less than what fills its memory at once."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of the commands that train: where the run is computed and saved."""

    out: str = required("run folder, on this machine", metavar="RUN", path="local")
    devices: str = option(
        "auto",
        "number of devices, or their ids with commas",
        metavar="N|0,1",
        pattern=r"auto|-1|[1-9][0-9]{0,4}|[0-9]{1,3}(,[0-9]{1,3})+,?|[0-9]{1,3},",
        expected="auto, a number of devices, or their ids with commas, such as 0,1",
    )
    accelerator: Accelerator = option("auto", "where to train")
    checkpoint_every: str = option(
        "15min", "how often to save, such as 15min, 2h or 500steps, or epoch; each epoch's end is always saved"
    )
    deterministic: bool = option(
        False, "only algorithms that give the same bits again; slower, and some GPUs lack some"
    )
    max_bad: int = option(
        0,
        "damaged samples that the run may leave out of training, each named once; more of them stop it",
        metavar="N",
        least=0,
    )
    resume: bool = option(False, "continue the run in --out; an empty folder starts one, a finished run is left alone")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of the commands that load one fine-tuned model."""

    run: str = argument("run folder of `finetune`", metavar="RUN", path="local")
    checkpoint: Literal["best", "last"] = option(
        "last", "which checkpoint of the run folder; best: that of the epoch with the lowest log10 in validation"
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(ModelOptions):
    """Options of the commands that need of a run its checkpoint alone."""

    run: str = argument("run folder of `finetune`, or a checkpoint of one", metavar="RUN|CHECKPOINT", path="local")


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The option of the commands that compute without training."""

    accelerator: Accelerator = option("auto", "where to compute")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(CacheOptions, InferenceOptions):
    """Options of the commands that evaluate on whole sets."""

    num_workers: int = option(2, "loader processes", metavar="N", least=0, most=MAX_WORKERS)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(LightlyOptions, SubsetOptions, CacheOptions, StreamingOptions, TrainingOptions):
    """Options of `depthstream pretrain`."""

    sets: tuple[str, ...] = argument(
        "folders or URLs of shard sets; only their image bytes are read", metavar="SET", path="any"
    )
    weights: str | None = option(
        None, "how often each set is drawn from, such as 2,1 (default: by size)", metavar="W,W"
    )
    augmentation: Literal["conservative", "aggressive"] = option(
        "conservative", "conservative: tilts to 15 degrees, no vertical flip; aggressive: 90 degrees, vertical flips"
    )
    vertical_flip: float | None = option(
        None, "probability of a vertical flip, in place of the augmentation's", metavar="P", least=0, most=1
    )
    rotation: float | None = option(
        None,
        "largest rotation in degrees, to either side, in place of the augmentation's; 0: none",
        metavar="DEG",
        least=0,
        most=180,
    )
    preview: str | None = option(
        None,
        "write a picture when training starts: the views of the first images, as the network gets them",
        metavar="FILE.png",
        path="local",
    )
    model: str = option(
        "torchvision/resnet50",
        "model by LightlyTrain's name, package/model; `finetune` takes torchvision's ResNets",
        metavar="NAME",
    )
    method: Method = option("dino", "LightlyTrain method, such as dino, simclr", metavar="NAME")
    teacher: str | None = option(
        None, "with a distillation method: model that teaches, by LightlyTrain's name", metavar="NAME"
    )
    teacher_weights: str | None = option(
        None, "with --teacher: state dict of that model, such as an encoder.pt", metavar="FILE", path="local"
    )
    views: ViewsOn = option(
        "cpu",
        "where views are made: cpu: by the loader processes, with LightlyTrain's own transform; gpu: on the training "
        "device, from images decoded no larger than the views need, by the same operations and probabilities, with "
        "draws of its own (without a GPU it works too, but is slower than cpu)",
    )
    epochs: int | Literal["auto"] = option(
        100, "passes over the sets; 0: random weights; auto: LightlyTrain's number for the method", metavar="N", least=0
    )
    batch_size: int = option(
        128, "global batch size, over all devices and accumulated micro-batches", metavar="N", least=1
    )
    num_workers: int | Literal["auto"] = option(
        4,
        "loader processes of each rank; auto: LightlyTrain's number for the CPUs",
        metavar="N",
        least=0,
        most=MAX_WORKERS,
    )
    image_size: int = option(224, "side of the square views in pixels", metavar="PX", least=16)
    precision: PretrainPrecision = option(
        "auto",
        "number format of the forward pass, such as 32-true, bf16-mixed, 16-mixed, 64-true; auto: bf16-mixed on a GPU "
        "that computes in it, else 32-true",
        metavar="FORMAT",
    )
    seed: int = option(0, "seed of order, views and initial weights", least=0, most=MAX_SEED)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(
    ComputationOptions,
    OptimizerOptions,
    LossOptions,
    AugmentOptions,
    ValidationOptions,
    CacheOptions,
    StreamingOptions,
    TrainingOptions,
):
    """Options of `depthstream finetune`."""

    set: str = argument("folder or URL of the training set, with depth", metavar="SET", path="any")
    encoder: str = option(
        "none",
        "run folder of `pretrain`, a state dict file, or none for random weights",
        metavar="RUN|FILE|none",
        path="local",
    )
    encoder_name: EncoderName | None = option(
        None, "torchvision encoder (default: that of the run or file in --encoder, else resnet50)"
    )
    epochs: int = option(50, "passes over the training set", metavar="N", least=1)
    batch_size: int = option(
        32, "global batch size, over all devices and accumulated micro-batches", metavar="N", least=1
    )
    micro_batch: str = option(
        "auto",
        "samples that a device computes at once",
        metavar="auto|N",
        pattern=r"auto|[1-9][0-9]{0,8}",
        expected="auto or a number of samples",
    )
    num_workers: int = option(4, "loader processes of each rank", metavar="N", least=0, most=MAX_WORKERS)
    camera_focal_px: float | None = option(
        None,
        "focal length in pixels of the images of SET, for `predict` (default: 1323 for those of DIODE, else unknown)",
        metavar="PX",
        above=0,
    )
    seed: int = option(0, "seed of order, augmentation and the decoder's initial weights", least=0, most=MAX_SEED)
    lightning: dict[str, Any] | None = option(
        None, "what Lightning has, by its names: CSVLogger, EarlyStopping, EMAWeightAveraging, profiler, ..."
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EvaluationOptions, SubsetOptions, ModelOptions):
    """Options of `depthstream evaluate`."""

    set: str = argument("folder or URL of a set with depth, metric or up to scale", metavar="SET", path="any")
    protocol: ProtocolChoice = option(
        "ours",
        "which pixels count, and which metrics: ours: within the mask, 0.6 to 350 m, with variants; devkit: as DIODE's "
        "metrics.py; zoe80garg: as ZoeDepth on DIODE outdoor, to 80 m within Garg's crop; these two read the depth "
        "under the mask",
    )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(PhotoOptions, InferenceOptions, CheckpointOptions):
    """Options of `depthstream predict`."""

    images: tuple[str, ...] = argument(
        "image files, folders (all pictures below), and patterns in quotes, such as 'photos/*.jpg'",
        metavar="IMAGE",
        path="local",
    )
    out: str = required("folder for the depth maps and pictures", metavar="DIR", path="local")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(CheckpointOptions):
    """Options of `depthstream export`."""

    onnx: str = required("ONNX file to write", metavar="FILE", path="local")


@dataclass(frozen=True, kw_only=True)
class CompareConfig(EvaluationOptions):
    """Options of `depthstream compare`."""

    runs: tuple[str, ...] = argument(
        "run folders of `finetune`; those with the same options but the seed are the runs of one arm",
        (),
        metavar="RUN",
        path="local",
    )
    arm: tuple[str, ...] = option(
        (), "runs that are one arm, whatever their options; once for each arm", metavar="NAME=RUN,RUN", repeated=True
    )
    contrasts: str | None = option(
        None, "pairs of arms to compare, chosen before the results are known (default: all pairs)", metavar="A:B,C:D"
    )
    margin: float = option(
        0.10, "relative difference that does not matter: 0.10 is ten percent", metavar="X", above=0, below=1
    )
    val: str | None = option(
        None,
        "folder or URL of the set to compare on (default: what the runs were validated on)",
        metavar="SET",
        path="any",
    )
    where: str | None = option(
        None,
        WHERE + ", for the set to compare on (default: that of the runs' validation; '' for all samples)",
        metavar="EXPR",
        empty=True,
    )
    out: str = required("report to write, one self-contained file", metavar="REPORT.html", path="local")


@dataclass(frozen=True, kw_only=True)
class ProfileConfig(AugmentOptions, CacheOptions, SubsetOptions):
    """Options of `depthstream profile`."""

    set: str = argument("folder or URL of a shard set", metavar="SET", path="any")
    samples: int = option(64, "samples a stage is measured on", metavar="N", least=1)
    repeats: int = option(5, "times each stage is measured", metavar="N", least=1)
    batch_size: int = option(
        FinetuneConfig.batch_size,
        "samples of a batch: the micro-batch of `finetune`, which by default is all of its --batch-size where it runs "
        "as one process that has the memory for it",
        metavar="N",
        least=1,
    )
    num_workers: int = option(2, "loader processes of the whole chain", metavar="N", least=0, most=MAX_WORKERS)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Options of `depthstream demo`."""

    out: str = option(
        "demo", "folder for everything that is made; finished stages are kept", metavar="DIR", path="local"
    )
    seed: int = option(0, "seed of the world and of the runs", least=0, most=MAX_SEED)
