"""Training and validation sets of the toy world, made once."""

from dataclasses import dataclass
from pathlib import Path

from learning_bench.commands import call, quoted
from sharding.format.manifest import MANIFEST_NAME

OUTDOOR = "scene_type == 'outdoor'"


@dataclass(frozen=True, kw_only=True)
class World:
    """Generated views in DIODE's layout: 12 outdoor scenes to train on, 3 others to validate on.

    Attributes:
        folder: Folder of the views and sets.
        images: Training views; a fifth as many are for validation.
        height: Of the views, pixels.
        width: Of the views, pixels.
        seed: Of the world.
    """

    folder: Path
    images: int
    height: int
    width: int
    seed: int = 0

    @property
    def train(self) -> Path:
        """Return the folder of the training set."""
        return self.folder / "train"

    @property
    def val(self) -> Path:
        """Return the folder of the validation set."""
        return self.folder / "val"

    def make(self) -> None:
        """Generate the views and make the sets that are not there yet."""
        views = self.folder / "views"
        if not (views / "val").exists():
            size = f"--images {self.images} --height {self.height} --width {self.width} --seed {self.seed}"
            call(f"toyworld {quoted(views)} --layout diode {size}")
        for split in (self.train, self.val):
            if not (split / MANIFEST_NAME).exists():
                call(f"shard diode {quoted(views)} {quoted(split)} --split {split.name}")
