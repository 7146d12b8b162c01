"""The `depthstream` command, with dropout and drop-path in its networks, and a record of what was trained on.

Each rank appends a line to OUT/keys-RANK.jsonl when it has trained on a micro-batch. In the environment, PAUSE_S is how
long it then waits, and TINY=1 makes the depth network a small one.
"""

import json
import os
import sys
import time
from pathlib import Path

from pytorch_lightning import Callback
from torch import nn
from torchvision.ops import StochasticDepth


class Recorder(Callback):
    def __init__(self, out, counter):
        self.out, self.counter = Path(out), counter

    def on_train_start(self, trainer, pl_module):
        self.file = (self.out / f"keys-{trainer.global_rank}.jsonl").open("a")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        state = self.counter.state  # of before the step
        keys = list(batch["key"] if "key" in batch else batch["filename"])
        self.line = {"epoch": state.epoch, "micro": batch_idx, "step": state.steps, "keys": keys}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.file.write(json.dumps(self.line) + "\n")
        self.file.flush()
        time.sleep(float(os.environ.get("PAUSE_S", "0")))


def make_tiny():
    """Everything that could depend on the past: BatchNorm, dropout, drop-path."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        StochasticDepth(0.1, "row"),
        nn.Conv2d(8, 1, 3, padding=1),
    )


def record_finetune():
    import torch

    from training.finetuning import finetune

    make_callbacks, init_model = finetune.make_callbacks, finetune.init_model

    def make_recorded(config, *rest):
        callbacks = make_callbacks(config, *rest)
        return [callbacks[0], Recorder(config.out, callbacks[0]), *callbacks[1:]]

    def init_with_dropout(*arguments):
        if os.environ.get("TINY"):
            torch.manual_seed(0)
            return make_tiny()
        unet = init_model(*arguments)
        unet.layers[0].append(nn.Dropout(0.2))
        return unet

    finetune.make_callbacks, finetune.init_model = make_recorded, init_with_dropout


def record_pretrain(out):
    import torch
    import torchvision

    from training.pretraining import lightly, strategy

    connect, pretrain = strategy.StreamStrategy.connect, lightly.pretrain

    def connect_recorded(self, model):
        connect(self, model)
        model.trainer.callbacks.insert(1, Recorder(out, self.counter))

    def pretrain_with_dropout(**arguments):
        torch.manual_seed(0)
        model = torchvision.models.resnet18()
        model.layer4.append(nn.Sequential(nn.Dropout(0.2), StochasticDepth(0.1, "row")))
        pretrain(**(arguments | {"model": model}))

    strategy.StreamStrategy.connect, lightly.pretrain = connect_recorded, pretrain_with_dropout


if __name__ == "__main__":
    from training.__main__ import main

    if sys.argv[1] == "finetune":
        record_finetune()
    else:
        record_pretrain(sys.argv[sys.argv.index("--out") + 1])
    sys.exit(main())
