"""Twenty steps of a ResNet-18 U-Net whose BatchNorm statistics are frozen, by one process or by each of two.

python -m tests.training.model.twenty_steps FOLDER
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import nn
from torch.multiprocessing import start_processes
from torch.utils.data import DataLoader

from tests.training.losses.cut_batches import Observer, Views, make_trainer
from training.finetuning.finetune import init_model
from training.loading.sampler import TrainSampler
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters

BATCH, STEPS = 4, 20


class Frozen(Callback):
    """Lets BatchNorm normalise by its running statistics, and keep them."""

    def on_train_epoch_start(self, trainer: Trainer, module: DepthUnet) -> None:
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()


class Larger(Views):
    """Views of 48 x 64 pixels."""

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        sample = super().__getitem__(item)
        return {
            name: value.repeat(1, 4, 4) if isinstance(value, torch.Tensor) else value for name, value in sample.items()
        }


def losses_of_run(world: int) -> list[float]:
    torch.set_num_threads(1)
    # Small steps: AdamW's first ones have the size of the rate whatever the gradient, so where that is nearly 0 its
    # rounding decides the direction, and runs drift apart (at 1e-4 by 2e-3 in twenty steps).
    options = Hyperparameters(encoder_name="resnet18", learning_rate=5e-6, warmup_steps=20, log_depth_mean=2.0)
    data = DataLoader(
        Larger(STEPS * BATCH, (1.0, 0.9, 0.1, 0.02, 0.5, 0.3, 0.05, 0.7)),
        BATCH // world,
        sampler=TrainSampler(STEPS * BATCH, BATCH),
    )
    observer = Observer()
    make_trainer(callbacks=[Frozen(), observer], gradient_clip_val=1.0).fit(
        DepthUnet(init_model("none", "resnet18"), options), data
    )
    return observer.losses


def run_rank(rank: int, world: int, port: int, folder: Path) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0}
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "twenty"}
    os.environ.update({name: str(value) for name, value in (here | there).items()})
    (folder / f"{rank}.json").write_text(json.dumps(losses_of_run(world)))


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start_processes(run_rank, (2, port, Path(sys.argv[1])), nprocs=2, start_method="fork")
