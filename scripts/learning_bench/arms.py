"""The arms of the ablations: options of `finetune`, and the network that lacks a measure."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learning_bench.world import OUTDOOR, World

if TYPE_CHECKING:
    from training.model.depth_unet import DepthUnet

FULL: dict[str, Any] = {"height": 96, "width": 128}
HALF: dict[str, Any] = {"height": 48, "width": 64, "scale": 0.5}
"""A quarter of the operations, so that fifteen runs are affordable."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the runs of an arm are trained.

    Attributes:
        differs: What it differs in, and from which arm.
        options: Options of `finetune`.
        network: Name of a class of `learning_bench.ablated`; "" for DepthUnet itself.
    """

    differs: str
    options: dict[str, Any] = field(default_factory=dict)
    network: str = ""

    def model(self) -> "type[DepthUnet]":
        """Return the class of the network; imports torch."""
        module, name = ("learning_bench.ablated", self.network) if self.network else _PLAIN
        found: type[DepthUnet] = getattr(import_module(module), name)
        return found

    def describe(self, *, seed: int, images: int, threads: int) -> dict[str, Any]:
        """Return all that decides what a run is and costs: network, options, seed, views, and threads of torch."""
        conditions = {"seed": seed, "images": images, "threads": threads}
        return {"network": self.network or _PLAIN[1], **_COMMON, **self.options, **conditions}

    def train(self, world: World, out: Path, seed: int) -> None:
        """Train a run, or what is left of it."""
        from training.config import FinetuneConfig
        from training.finetuning.finetune import init_model, train

        config = FinetuneConfig(
            set=str(world.train),
            val=str(world.val),
            out=str(out),
            seed=seed,
            resume=True,
            **(_COMMON | self.options),
        )
        train(config, lambda: init_model(config.encoder, config.encoder_name, seed), self.model())


_PLAIN = ("training.model.depth_unet", "DepthUnet")
_COMMON: dict[str, Any] = {
    "where": OUTDOOR,
    "encoder_name": "resnet18",
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "num_workers": 0,
    "devices": "1",
    "accelerator": "cpu",
}

ARMS = {
    "long": Recipe(differs="from ours: whole resolution, 96 x 128", options=FULL),
    "ours": Recipe(differs="all measures, at half resolution", options=HALF),
    "tutorial-crop": Recipe(
        differs="from ours: the tutorial's crops, whose zoom the depth does not follow, and no colour",
        options=HALF | {"augment": "tutorial"},
    ),
    "mse": Recipe(
        differs="from ours: the tutorial's loss, of metres by the typical depth, masked", options=HALF | {"loss": "mse"}
    ),
    "no-mask": Recipe(
        differs="from mse: pixels without a measurement count as 0 m",
        options=HALF | {"loss": "mse"},
        network="WithoutMask",
    ),
    "no-log": Recipe(
        differs="from mse: the network predicts metres, not their logarithm",
        options=HALF | {"loss": "mse"},
        network="WithoutLog",
    ),
}
"""By name; each is compared with the one it names."""
