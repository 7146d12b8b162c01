"""Names of Lightning 2.6 in the mapping `lightning` of `finetune`, as tables; tests compare them with the release.

A name stands with the type of its value, as msgspec checks it, or with the reason why it cannot be set, as text.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from training.metrics.names import METRIC_NAMES

_Count = Annotated[int, Meta(ge=0)]
_Some = Annotated[int, Meta(ge=1)]
_Text = Annotated[str, Meta(min_length=1)]

_IN_RUN = "files are written below the run folder"
_KEPT = "a resumed run continues the one it began, whose name is kept in the run folder"
_CHECKPOINTS = "checkpoints are those of --checkpoint-every, in RUN/checkpoints"
_FUNCTION = "a function cannot be in a file"

_REPORTS = "reports are written to RUN/lightning/profiler"
_PROFILER = {"dirpath": _REPORTS, "filename": _REPORTS}
_AVERAGING: Mapping[str, Any] = {
    "device": Literal["cpu", None],  # else that of training
    "use_buffers": bool,
}

LOGGERS: Mapping[str, Mapping[str, Any]] = {
    "CSVLogger": {
        "save_dir": _IN_RUN,
        "name": _IN_RUN,
        "version": _KEPT,
        "prefix": str,
        "flush_logs_every_n_steps": _Some,
    },
    "MLFlowLogger": {
        "experiment_name": _Text,
        "run_name": _Text | None,
        "tracking_uri": _Text | None,
        "tags": dict[str, str] | None,
        "save_dir": _IN_RUN,
        "log_model": _CHECKPOINTS,
        "prefix": str,
        "artifact_location": _Text | None,
        "run_id": _KEPT,
        "synchronous": bool | None,
    },
    "WandbLogger": {
        "name": _Text | None,
        "save_dir": _IN_RUN,
        "version": _KEPT,
        "offline": bool,
        "dir": _IN_RUN,
        "id": _KEPT,
        "anonymous": bool | None,
        "project": _Text | None,
        "log_model": _CHECKPOINTS,
        "experiment": "the run is begun by depthstream",
        "prefix": str,
        "checkpoint_name": _CHECKPOINTS,
        "add_file_policy": _CHECKPOINTS,
        # Of `wandb.init`:
        "entity": _Text,
        "group": _Text,
        "job_type": _Text,
        "notes": str,
        "tags": list[str],
    },
}
"""Loggers beside TensorBoard's, and their arguments."""

PROFILERS: Mapping[str, Mapping[str, Any]] = {
    "SimpleProfiler": {**_PROFILER, "extended": bool},
    "AdvancedProfiler": {
        **_PROFILER,
        "line_count_restriction": Annotated[float, Meta(gt=0)],
        "dump_stats": bool,
    },
    "PyTorchProfiler": {
        **_PROFILER,
        "group_by_input_shapes": bool,
        "emit_nvtx": bool,
        "export_to_chrome": bool,
        "row_limit": Annotated[int, Meta(ge=-1)],
        "sort_by_key": _Text | None,
        "record_module_names": bool,
        "table_kwargs": dict[str, Any] | None,
        # Of `torch.profiler.profile`:
        "profile_memory": bool,
        "record_shapes": bool,
        "with_flops": bool,
        "with_stack": bool,
    },
}

CALLBACKS: Mapping[str, Mapping[str, Any]] = {
    "DeviceStatsMonitor": {"cpu_stats": bool | None},
    "EMAWeightAveraging": {
        **_AVERAGING,
        "decay": Annotated[float, Meta(ge=0, le=1)],
        "update_every_n_steps": _Some,
        "update_starting_at_step": _Count | None,
        "update_starting_at_epoch": "an average that changes at an epoch's end is not the one that was validated; "
        "give update_starting_at_step",
    },
    "EarlyStopping": {
        "monitor": _Text,
        "min_delta": Annotated[float, Meta(ge=0)],
        "patience": _Count,
        "verbose": "the reason is said when it stops",
        "mode": Literal["min", "max"],
        "strict": "every monitor that is accepted is there",
        "check_finite": bool,
        "stopping_threshold": float | None,
        "divergence_threshold": float | None,
        "check_on_train_epoch_end": "it is checked at the end of each epoch, after its validation",
        "log_rank_zero_only": "the reason is said by rank 0",
    },
    "LearningRateMonitor": {
        "logging_interval": Literal["step", "epoch", None],
        "log_momentum": bool,
        "log_weight_decay": bool,
    },
    "WeightAveraging": _AVERAGING,
}

CLASSES = {**LOGGERS, **PROFILERS, **CALLBACKS}

MONITORS: Mapping[str, str] = {
    "val_loss": "min",
    **{f"val_{name}": "min" if about.lower_is_better else "max" for name, about in METRIC_NAMES.items()},
    "train_loss_epoch": "min",
}
"""What can be monitored, and which direction is better."""

PACKAGES = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb", "DeviceStatsMonitor": "psutil"}
"""Packages that a class needs besides."""

_BASE = "it is a base class"
REFUSED: Mapping[str, str] = {
    "BackboneFinetuning": "give --freeze-epochs and --encoder-lr-factor",
    "BaseFinetuning": _BASE,
    "BasePredictionWriter": "use `depthstream predict`",
    "BatchSizeFinder": "give --micro-batch auto",
    "Callback": _BASE,
    "Checkpoint": _BASE,
    "CometLogger": "it was not tried with resumed runs; give CSVLogger, MLFlowLogger or WandbLogger",
    "GradientAccumulationScheduler": "the global batch is --batch-size; --micro-batch decides how it is accumulated",
    "LambdaCallback": _FUNCTION,
    "LearningRateFinder": "give --learning-rate",
    "LitLogger": "it uploads to Lightning's own service; give CSVLogger, MLFlowLogger or WandbLogger",
    "Logger": _BASE,
    "ModelCheckpoint": _CHECKPOINTS,
    "ModelPruning": "it renames weights, and no checkpoint would load",
    "ModelSummary": "the network is described when the run starts",
    "NeptuneLogger": "Lightning 2.6 has it no more; give CSVLogger, MLFlowLogger or WandbLogger",
    "OnExceptionCheckpoint": _CHECKPOINTS,
    "PassThroughProfiler": "leave profilers out for none",
    "Profiler": _BASE,
    "ProgressBar": "the run has its own; give --quiet for none",
    "RichModelSummary": "the network is described when the run starts",
    "RichProgressBar": "the run has its own; give --quiet for none",
    "SpikeDetection": "it leaves batches out; a loss that is not finite ends the run anyway, and names the samples",
    "StochasticWeightAveraging": "it replaces the schedule of the learning rate, and validates weights that are not "
    "averaged; give EMAWeightAveraging or WeightAveraging",
    "TQDMProgressBar": "the run has its own; give --quiet for none",
    "TensorBoardLogger": "it is always there, and writes to RUN/tensorboard",
    "ThroughputMonitor": "the run logs its throughput by itself",
    "Timer": "it would end the run within an epoch; send SIGTERM (`timeout 12h depthstream finetune ...`), and "
    "continue with --resume",
    "XLAProfiler": "there is no training on TPUs",
}
"""Classes that cannot be set, and why."""

_DEVICES, _LENGTH = "give --accelerator and --devices", "give --epochs"
_EACH_EPOCH = "each epoch ends with a validation of the whole set: it decides which epoch is the best"
_WHOLE = "an epoch is all samples; give --where"
_OURS = "which samples a batch has is decided by --seed alone"
_NOT_HERE = "finetune trains and validates only"

TRAINER_ARGS: Mapping[str, Any] = {
    "accelerator": _DEVICES,
    "accumulate_grad_batches": "give --batch-size and --micro-batch",
    "barebones": "runs are saved",
    "benchmark": bool | None,
    "callbacks": "give each by the name of its class",
    "check_val_every_n_epoch": _EACH_EPOCH,
    "default_root_dir": "give --out",
    "detect_anomaly": bool,
    "deterministic": "give --deterministic",
    "devices": _DEVICES,
    "enable_autolog_hparams": bool,
    "enable_checkpointing": _CHECKPOINTS,
    "enable_model_summary": "the network is described when the run starts",
    "enable_progress_bar": "give --quiet",
    "fast_dev_run": _LENGTH,
    "gradient_clip_algorithm": Literal["norm", "value"],
    "gradient_clip_val": "give --clip",
    "inference_mode": "validation takes no gradients",
    "limit_predict_batches": _NOT_HERE,
    "limit_test_batches": _NOT_HERE,
    "limit_train_batches": _WHOLE,
    "limit_val_batches": _EACH_EPOCH,
    "log_every_n_steps": _Some,
    "logger": "give each by the name of its class",
    "max_epochs": _LENGTH,
    "max_steps": _LENGTH,
    "max_time": "send SIGTERM (`timeout 12h depthstream finetune ...`), and continue with --resume",
    "min_epochs": _Some,
    "min_steps": "give min_epochs: runs end after whole epochs",
    "model_registry": _CHECKPOINTS,
    "num_nodes": "start the command by torchrun or srun",
    "num_sanity_val_steps": "a batch is validated before the first step",
    "overfit_batches": _WHOLE,
    "plugins": _DEVICES,
    "precision": "give --precision",
    "profiler": Literal["simple", "advanced", "pytorch", None],
    "reload_dataloaders_every_n_epochs": _OURS,
    "strategy": _DEVICES,
    "sync_batchnorm": "give --sync-batchnorm",
    "use_distributed_sampler": _OURS,
    "val_check_interval": _EACH_EPOCH,
}
"""Names of `pytorch_lightning.Trainer`."""

AVERAGES = ("EMAWeightAveraging", "WeightAveraging")
"""Callbacks that keep an average of the weights."""

LEARNS = (*AVERAGES, "EarlyStopping", "gradient_clip_algorithm", "min_epochs")
"""Names that change what a run learns, or when it ends; the others may change when it is resumed."""
