"""Batches of very unequal valid pixels, trained on and judged in pieces; a script that does it on several ranks.

python -m tests.training.losses.cut_batches FOLDER
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from torch.utils.data import DataLoader, Dataset, default_collate

from training.loading.sampler import EvalSampler, TrainSampler
from training.losses.pixel_losses import LOSSES
from training.model.criterion import make_loss
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters

GLOBAL, STEPS = 8, 3
VALID_SHARES = {
    "uneven": (1.0, 0.9, 0.0, 0.0, 0.02, 0.5, 0.3, 0.05),  # the second micro-batch of 2 has no valid pixel
    "half": (0.0, 0.0, 0.0, 0.0, 0.9, 0.02, 0.5, 0.1),  # nor has the first of 4, which is also the first rank's
    "none": (0.0,) * 8,
    "judged": (1.0, 0.2, 0.9, 0.1, 0.6, 0.15, 0.5, 0.3),
}
LEFT_OUT = 5  # of each 8, the sample with weight 0
VERBS = {"validate": "val", "test": "test"}  # of a Trainer, with the prefix of its metrics
EVALUATED = (7, 3, 1)  # odd; less than 2 ranks x 2; less than 2 ranks


TRAINED = (*LOSSES, "silog + gradient")
"""Losses by name, and one with the gradient term."""


class Plain(nn.Module):
    """A network without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Views(Dataset):
    """Made-up samples, others in each epoch; padding has weight 0, and so has a sample of each 8 of training."""

    def __init__(self, size: int, shares: tuple[float, ...], left_out: int | None = None) -> None:
        self.size, self.shares, self.left_out = size, shares, left_out

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        epoch, position = item
        random = torch.Generator().manual_seed(100 * epoch + position)
        return {
            "image": torch.randint(0, 256, (3, 12, 16), generator=random, dtype=torch.uint8),
            "depth": torch.rand(1, 12, 16, generator=random) * 20 + 1,
            "valid": torch.rand(1, 12, 16, generator=random) < self.shares[position % 8],
            "weight": float(position < self.size and position % 8 != self.left_out),
            "key": f"view-{position}",
        }


def make_model(loss: str = "silog", learning_rate: float = 1e-3) -> DepthUnet:
    name, _, term = loss.partition(" + ")
    weight = 0.5 if term else 0.0
    options = Hyperparameters(loss=name, gradient_weight=weight, learning_rate=learning_rate, log_depth_mean=2.0)
    return DepthUnet(Plain(), options)


class Observer(Callback):
    """Keeps the gradients of the last step, and the losses of all steps and epochs."""

    def __init__(self) -> None:
        self.gradient, self.losses, self.epochs = torch.empty(0), [], []

    def on_train_batch_end(self, trainer: Trainer, module: DepthUnet, *args: Any) -> None:
        self.gradient = flatten([parameter.grad for parameter in module.parameters()])
        self.losses.append(float(trainer.callback_metrics.get("train_loss", torch.nan)))

    def on_train_end(self, trainer: Trainer, module: DepthUnet) -> None:
        self.epochs.append(float(trainer.callback_metrics["train_loss_epoch"]))


def flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).clone()


def make_trainer(accumulation: int = 1, **options: Any) -> Trainer:
    world = int(os.environ.get("WORLD_SIZE", 1))
    plain = {
        "max_epochs": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        accumulate_grad_batches=accumulation,
        use_distributed_sampler=False,
        **({"enable_checkpointing": False} | plain | options),
    )


def take_step(loss: str, shares: str, micro_batch: int, **options: Any) -> dict[str, Any]:
    """One optimizer step on the global batch, in micro-batches, on each rank of the world."""
    model, observer = make_model(loss), Observer()
    data = DataLoader(Views(GLOBAL, VALID_SHARES[shares], LEFT_OUT), micro_batch, sampler=TrainSampler(GLOBAL, GLOBAL))
    accumulation = GLOBAL // micro_batch // int(os.environ.get("WORLD_SIZE", 1))
    make_trainer(accumulation, callbacks=[observer], **options).fit(model, data)
    return {"gradient": observer.gradient, "weights": flatten([*model.parameters()]), "loss": observer.losses[-1]}


def plain_step(loss: str, shares: str, parts: int = 1, clip: float = torch.inf) -> dict[str, Any]:
    """The same by autograd on the whole batch: the sum over its samples by its valid pixels.

    With several parts it is the mean of their means: what it must not be.
    """
    views, model = Views(GLOBAL, VALID_SHARES[shares], LEFT_OUT), make_model(loss)
    optimizer = model.configure_optimizers()["optimizer"]
    batch = default_collate([views[0, position] for position in range(GLOBAL)])
    counts = batch["valid"] & (batch["weight"] > 0)[:, None, None, None]
    z, means = model(batch["image"]), []
    for one in range(parts):
        samples = [slice(i, i + 1) for i in range(one * GLOBAL // parts, (one + 1) * GLOBAL // parts)]
        sums = [make_loss(model.options)(z[i], batch["depth"][i], counts[i]) for i in samples]
        means.append(sum(each.total for each in sums) / sum(each.count for each in sums).clamp(min=1))
    value = sum(means) / parts
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    gradient = flatten([parameter.grad for parameter in model.parameters()])
    optimizer.step()
    return {"gradient": gradient, "weights": flatten([*model.parameters()]), "loss": value.item()}


def apart(found: Tensor, expected: Tensor) -> float:
    """Relative distance."""
    return float((found - expected).norm() / expected.norm())


def judge(size: int, verb: str) -> dict[str, float]:
    """Metrics of `Trainer.validate` or `Trainer.test`, 2 samples at a time on each rank."""
    model = make_model()
    data = DataLoader(Views(size, VALID_SHARES["judged"]), 2, sampler=EvalSampler(size, 2))
    (found,) = getattr(make_trainer(), verb)(model, data, verbose=False)
    assert model._sums.metrics.count == size
    return found


def train_epochs(folder: Path, micro_batch: int, checkpoint: Path | None = None, step: int = 0) -> list[float]:
    """Two epochs of 3 steps with a checkpoint after each; the loss of the second epoch, first by step, then whole."""
    sampler, observer = TrainSampler(STEPS * GLOBAL + 1, GLOBAL), Observer()
    sampler.resume(step // STEPS, step % STEPS * GLOBAL)
    views = Views(STEPS * GLOBAL + 1, VALID_SHARES["uneven"], LEFT_OUT)
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    accumulation = GLOBAL // micro_batch // int(os.environ.get("WORLD_SIZE", 1))
    trainer = make_trainer(accumulation, max_epochs=2, callbacks=[observer, saver], enable_checkpointing=True)
    data = DataLoader(views, micro_batch, sampler=sampler)
    trainer.fit(make_model(learning_rate=1e-2), data, ckpt_path=checkpoint, weights_only=True)
    return [*observer.losses[accumulation - 1 :: accumulation][-STEPS:], *observer.epochs]


def run_rank(rank: int, world: int, port: int, folder: Path) -> None:
    """What each process does, in the surroundings that torchrun would make."""
    torch.set_num_threads(1)
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0}
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "cut"}
    os.environ.update({name: str(value) for name, value in (here | there).items()})
    report: dict[str, Any] = {f"{verb} {size}": judge(size, verb) for verb in VERBS for size in EVALUATED}
    if GLOBAL % world == 0:
        steps = {f"{loss} {shares}": take_step(loss, shares, 4) for loss in TRAINED for shares in ("uneven", "half")}
        steps |= {"accumulated": take_step("silog", "uneven", 2), "none": take_step("silog", "none", 4)}
        report["epoch"] = train_epochs(folder / "checkpoints", 2)
        torch.save(steps, folder / f"steps{rank}.pt")
    (folder / f"{world}-{rank}.json").write_text(json.dumps(report))


def run_worlds(folder: Path) -> None:
    """Two processes, then three: forked, for the imports take most of the time."""
    for world in (2, 3):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        start_processes(run_rank, (world, port, folder), nprocs=world, start_method="fork")


if __name__ == "__main__":
    run_worlds(Path(sys.argv[1]))
