"""Names that LightlyTrain 0.18, torch's DataLoader and Lightning's trainer take in mappings, as tables.

To ask them takes ten seconds; tests compare. Names further inside are left to LightlyTrain, which refuses wrong ones
before it trains.
"""

from collections.abc import Mapping

_SCALING = ("lr_scale_method", "reference_batch_size")
_DISTILLATION = (*_SCALING, "teacher", "teacher_weights")
_QUEUE = (*_DISTILLATION, "loss_local_weight", "queue_size", "teacher_args", "temperature_global", "temperature_local")
_DINO = (
    *_SCALING,
    *("batch_norm", "center_momentum", "hidden_dim", "momentum_end", "momentum_start", "output_dim"),
    *("student_freeze_last_layer_steps", "student_temp", "warmup_steps", "weight_decay_end", "weight_decay_start"),
)
_DINOV2 = (
    *_DINO,
    *("center_method", "dino_bottleneck_dim", "dino_loss_weight", "gradient_clip_val", "ibot_bottleneck_dim"),
    *("ibot_loss_weight", "ibot_separate_head", "koleo_loss_weight", "layerwise_decay", "mask_probability"),
    *("mask_ratio_max", "mask_ratio_min", "min_lr", "patch_embed_lr_multiplier", "student_freeze_backbone_steps"),
    *("teacher_temp_end", "teacher_temp_start", "teacher_temp_warmup_steps"),
)

METHOD_ARGS: Mapping[str, tuple[str, ...]] = {
    "densecl": (
        *_SCALING,
        *("gather_distributed", "hidden_dim", "lambda_", "memory_bank_size", "momentum_end", "momentum_start"),
        *("output_dim", "temperature"),
    ),
    "dino": (
        *_DINO,
        *("bottleneck_dim", "norm_last_layer", "student_freeze_last_layer_epochs", "teacher_temp"),
        *("warmup_max_steps_fraction", "warmup_teacher_temp", "warmup_teacher_temp_epochs"),
        *("warmup_teacher_temp_max_steps_fraction", "warmup_teacher_temp_steps"),
    ),
    "dinov2": _DINOV2,
    "dinov31": (*_DINOV2, "paka_max_tokens", "paka_num_local", "paka_start_step", "paka_weight"),
    "distillation": _QUEUE,
    "distillationv1": (*_DISTILLATION, "queue_size", "teacher_url", "temperature"),
    "distillationv2": (
        *_DISTILLATION,
        *("n_projection_layers", "n_teacher_blocks", "projection_hidden_dim", "teacher_url"),
    ),
    "distillationv3": _QUEUE,
    "simclr": (*_SCALING, "batch_norm", "hidden_dim", "num_layers", "output_dim", "temperature"),
}
"""Names in `method_args`, by method."""

_VIEW = (
    *("channel_drop", "color_jitter", "gaussian_blur", "image_size", "normalize", "num_channels", "random_flip"),
    *("random_gray_scale", "random_resize", "random_rotation", "solarize"),
)
_TWO_VIEWS = (*_VIEW, "global_view_1", "local_view", "record_geometry")
TRANSFORM_ARGS: Mapping[str, tuple[str, ...]] = dict.fromkeys(METHOD_ARGS, _VIEW) | {
    "dino": _TWO_VIEWS,
    "dinov2": _TWO_VIEWS,
    "dinov31": (*_TWO_VIEWS, "paka_high_overlap_iou", "paka_num_local"),
}
"""Names in `transform_args`, by method."""

LOCAL_PX: Mapping[str, int] = {"dino": 96, "dinov2": 98, "dinov31": 98}
"""Side of LightlyTrain's local views in pixels, beside others of 224, by method."""

_ADAM = ("betas", "eps", "lr", "weight_decay")
_LARS = ("dampening", "eps", "lr", "momentum", "nesterov", "trust_coefficient", "weight_decay")
OPTIM_ARGS: Mapping[str, tuple[str, ...]] = {
    "adamw": _ADAM,
    "adamw8bit": _ADAM,
    "auto": tuple(dict.fromkeys((*_ADAM, *_LARS))),  # the method decides which; LightlyTrain refuses the others'
    "lars": _LARS,
    "sgd": ("lr", "momentum", "weight_decay"),
}
"""Names in `optim_args`, by optimizer."""

ACTIVATION_CHECKPOINT_ARGS = ("enabled", "every_n_blocks")

LOGGERS: Mapping[str, str | None] = {"jsonl": None, "mlflow": "mlflow", "tensorboard": None, "wandb": "wandb"}
"""Loggers, and the package that one needs besides."""

CALLBACKS: Mapping[str, str | None] = {
    "device_stats_monitor": None,
    "early_stopping": None,
    "learning_rate_monitor": None,
    "model_checkpoint": "checkpoints are those of --checkpoint-every, with which a run is resumed exactly",
    "model_export": None,
}
"""Callbacks, and why one cannot be set."""

_OURS = "which samples a batch has is decided by --seed alone"
LOADER_ARGS: Mapping[str, str | None] = {
    "batch_sampler": _OURS,
    "batch_size": "give --batch-size",
    "collate_fn": "batches are as LightlyTrain's methods need them",
    "dataset": "samples are those of the sets",
    "drop_last": "an epoch is made of whole global batches",
    "generator": _OURS,
    "in_order": _OURS,
    "multiprocessing_context": None,
    "num_workers": "give --num-workers",
    "persistent_workers": None,
    "pin_memory": None,
    "pin_memory_device": "the device is that of --accelerator",
    "prefetch_factor": None,
    "sampler": _OURS,
    "shuffle": _OURS,
    "timeout": None,
    "worker_init_fn": "workers are started by depthstream",
}
"""Names of `torch.utils.data.DataLoader`, and why one cannot be set."""

_DEVICES, _LENGTH = "give --accelerator and --devices", "give --epochs"
_WITHOUT_VALIDATION = "pretraining has no validation"
TRAINER_ARGS: Mapping[str, str | None] = {
    "accelerator": _DEVICES,
    "accumulate_grad_batches": "give --gradient-accumulation-steps",
    "barebones": "runs are saved",
    "benchmark": None,
    "callbacks": "give callbacks",
    "check_val_every_n_epoch": _WITHOUT_VALIDATION,
    "default_root_dir": "give --out",
    "detect_anomaly": None,
    "deterministic": "give --deterministic",
    "devices": _DEVICES,
    "enable_autolog_hparams": None,
    "enable_checkpointing": "runs are saved; see --checkpoint-every",
    "enable_model_summary": None,
    "enable_progress_bar": "give --quiet",
    "fast_dev_run": _LENGTH,
    "gradient_clip_algorithm": None,
    "gradient_clip_val": None,
    "inference_mode": _WITHOUT_VALIDATION,
    "limit_predict_batches": _WITHOUT_VALIDATION,
    "limit_test_batches": _WITHOUT_VALIDATION,
    "limit_train_batches": "an epoch is all samples; give --where",
    "limit_val_batches": _WITHOUT_VALIDATION,
    "log_every_n_steps": None,
    "logger": "give loggers",
    "max_epochs": _LENGTH,
    "max_steps": _LENGTH,
    "max_time": _LENGTH,
    "min_epochs": _LENGTH,
    "min_steps": _LENGTH,
    "model_registry": "checkpoints are those of --checkpoint-every",
    "num_nodes": "start the command by torchrun or srun",
    "num_sanity_val_steps": _WITHOUT_VALIDATION,
    "overfit_batches": "an epoch is all samples; give --where",
    "plugins": _DEVICES,
    "precision": "give --precision",
    "profiler": None,
    "reload_dataloaders_every_n_epochs": _OURS,
    "strategy": _DEVICES,
    "sync_batchnorm": None,
    "use_distributed_sampler": _OURS,
    "val_check_interval": _WITHOUT_VALIDATION,
}
"""Names of `pytorch_lightning.Trainer`, and why one cannot be set."""
