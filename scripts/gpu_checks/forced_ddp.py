"""The training command in true float32, with DDP over a given backend, also for one process; run by the part `ranks`.

    python forced_ddp.py nccl|gloo finetune ...

Writes RUN/batchnorm.json: the kinds of BatchNorm layers that are trained.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from training.finetuning import finetune
from training.launch.group import DepthDDP
from training.network.float32 import full_float32


class LayerKinds(Callback):
    """Writes which kinds of BatchNorm layers a model has when its training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, on rank 0."""
        if trainer.is_global_zero:
            kinds = {type(layer).__name__ for layer in pl_module.modules() if isinstance(layer, _BatchNorm)}
            folder = Path(sys.argv[sys.argv.index("--out") + 1])
            (folder / "batchnorm.json").write_text(json.dumps(sorted(kinds)))


def main(backend: str, words: list[str]) -> int:
    """Run the command; return its exit status."""
    from training.__main__ import main as run_program

    def make(**options: Any) -> Trainer:
        on_gpu = options["accelerator"] == "gpu"
        strategy = DepthDDP(process_group_backend=backend, broadcast_buffers=not on_gpu)
        options |= {"strategy": strategy, "sync_batchnorm": on_gpu}
        return Trainer(**(options | {"callbacks": [*options["callbacks"], LayerKinds()]}))

    def join(_backend: str, **options: Any) -> None:
        # NCCL refuses two ranks on one card, gloo does not.
        start_group(backend, **(options if backend == "nccl" else options | {"device_id": None}))

    start_group = distributed.init_process_group
    sys.argv[1:] = words
    with (
        mock.patch.object(finetune, "Trainer", make),
        mock.patch.object(distributed, "init_process_group", join),
        full_float32(),
    ):
        return run_program()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
