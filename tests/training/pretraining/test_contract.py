"""What the adapter takes for granted of LightlyTrain, Lightning and albumentations, none of which promises it.

When another release breaks pretraining, the test that fails here says what changed, and which file depends on it.
"""

import inspect
import os
import random
from importlib.metadata import version

import lightly_train
import numpy as np
import pytest
import pytorch_lightning
import torch
import torchvision
from albumentations import Compose, HorizontalFlip, RandomResizedCrop
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, default_collate

COUNT, BATCH = 9, 4


class Alike(Dataset):
    """A data set of one image under the transform of LightlyTrain's."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        views = self.transform({"image": np.zeros((40, 50, 3), np.uint8)})
        return {"filename": str(index), "views": [view["image"] for view in views]}


class Probe(SingleDeviceStrategy):
    """Records in which order Lightning calls the hooks of `training.pretraining.strategy`, and with what."""

    def __init__(self):
        super().__init__(device=torch.device("cpu"))
        self.calls, self.seen = [], {}

    def connect(self, model):
        super().connect(model)
        self.calls.append("connect")
        self.seen["trainer"] = model.trainer

    def process_dataloader(self, dataloader):
        self.calls.append("process_dataloader")
        self.seen["seed"] = os.environ.get("PL_GLOBAL_SEED")
        self.seen["loader"] = dataloader
        return DataLoader(
            Alike(dataloader.dataset.transform), batch_size=BATCH, drop_last=True, collate_fn=dataloader.collate_fn
        )

    def save_checkpoint(self, checkpoint, filepath, storage_options=None):
        self.calls.append("save_checkpoint")
        self.seen["checkpoint"] = checkpoint
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path, weights_only=None):
        self.calls.append("load_checkpoint")
        return super().load_checkpoint(checkpoint_path, weights_only=False)

    def load_model_state_dict(self, checkpoint, strict=True):
        self.calls.append("load_model_state_dict")
        super().load_model_state_dict(checkpoint, strict)


def pretrain(out, probe, **options):
    lightly_train.pretrain(
        out=out / "run",
        data=[f"{number}.jpg" for number in range(COUNT)],  # there are no such files
        strategy=probe,
        model="dinov3/_convnexttest",
        method="simclr",
        batch_size=BATCH,
        accelerator="cpu",
        devices=1,
        transform_args={"image_size": (32, 32)},
        loggers={"tensorboard": None},
        **options,
    )


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """A run of one epoch, and its resumption for another: the hooks of both."""
    out = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
        patch.setenv("LIGHTLY_TRAIN_TMP_DIR", str(out / "tmp"))
        patch.setenv("LIGHTLY_TRAIN_DATA_CACHE_DIR", str(out / "cache"))
        first, second = Probe(), Probe()
        pretrain(out, first, epochs=1, num_workers=2, seed=5)
        pretrain(out, second, epochs=2, num_workers=0, seed=5, resume_interrupted=True)
    return first, second, out


def because(what, file):
    """Say in a failed assertion what changed, in which release, and what depends on it."""
    releases = ", ".join(f"{name} {version(name)}" for name in ("lightly-train", "pytorch-lightning", "albumentations"))
    return f"{what}: training/{file} depends on it ({releases})"


def test_names_of_files_are_never_opened(probe):
    assert probe[0].seen["trainer"].global_step == COUNT // BATCH, because(
        "LightlyTrain opens the files of `data`, or counts its steps by something else than its loader",
        "pretraining/lightly.py",
    )


def test_the_loader_is_a_dataloader_that_says_how_it_loads(probe):
    loader = probe[0].seen["loader"]
    file = "pretraining/their_loader.py"
    assert isinstance(loader, DataLoader), because("LightlyTrain's loader is no DataLoader", file)
    assert callable(getattr(loader.dataset, "transform", None)), because("its data set has no `transform`", file)
    assert loader.dataset.num_channels == 3, because("its data set has no `num_channels`", file)
    assert loader.dataset.image_mode.value == "RGB", because("its data set has no `image_mode`", file)
    assert len(loader.dataset) == COUNT, because("its data set has another length than `data`", file)
    assert (loader.batch_size, loader.num_workers) == (BATCH, 2), because("batch size or workers are elsewhere", file)
    assert type(loader.sampler) is RandomSampler, because("it is shuffled in another way", file)
    assert loader.drop_last, because("it keeps the tail of an epoch", file)
    assert loader.collate_fn is default_collate, because("it collates in another way", file)
    assert loader.generator is None, because("it has a generator of its own", file)
    assert loader.worker_init_fn is None, because("it starts its workers in another way", file)
    assert loader.multiprocessing_context is None, because("it chooses how workers start", file)
    assert loader.timeout == 180, because("its timeout is not that of LIGHTLY_TRAIN_DATALOADER_TIMEOUT_SEC", file)
    assert loader.prefetch_factor == 2, because("it prefetches other than torch does", file)
    assert (loader.pin_memory, loader.persistent_workers) == (False, False), because("it pins or keeps workers", file)


def test_the_transform_makes_views_of_one_image(probe):
    file = "pretraining/views.py"
    transform = probe[0].seen["loader"].dataset.transform
    views = transform({"image": np.zeros((40, 50, 3), np.uint8)})
    assert [list(view) for view in views] == [["image"], ["image"]], because("views have other entries", file)
    found = [(view["image"].dtype, tuple(view["image"].shape)) for view in views]
    assert found == [(torch.float32, (3, 32, 32))] * 2, because("views have another form", file)


@pytest.mark.parametrize(
    ("strategy", "calls"),
    [
        (0, ["connect", "process_dataloader", "save_checkpoint"]),
        (1, ["connect", "load_checkpoint", "load_model_state_dict", "process_dataloader", "save_checkpoint"]),
    ],
    ids=["new", "resumed"],
)
def test_lightning_calls_the_hooks_in_this_order(probe, strategy, calls):
    found = list(dict.fromkeys(probe[strategy].calls))
    expected = because("Lightning calls the hooks of a strategy in another order", "pretraining/strategy.py")
    assert found == calls, expected


@pytest.mark.parametrize("kind", [Strategy, SingleDeviceStrategy, DDPStrategy])
def test_the_hooks_have_these_parameters(kind):
    wanted = {
        "connect": ["model"],
        "process_dataloader": ["dataloader"],
        "save_checkpoint": ["checkpoint", "filepath", "storage_options"],
        "load_checkpoint": ["checkpoint_path", "weights_only"],
        "load_model_state_dict": ["checkpoint", "strict"],
        "on_exception": ["exception"],
    }
    found = {name: list(inspect.signature(getattr(kind, name)).parameters)[1:] for name in wanted}
    assert found == wanted, because("a hook of Lightning's strategies has other parameters", "pretraining/strategy.py")
    taken = {
        "trainer",
        "epochs",
        "steps",
        "images",
        "counter",
        "keeper",
        "seeding",
        "budget",
        "follows_seed",
        "views_on",
        "has_loader",
        "loader_args",
    }
    assert taken.isdisjoint(dir(kind)), because(
        "an attribute of ours has become one of Lightning's", "pretraining/strategy.py"
    )


def test_the_trainer_has_what_is_read_of_it(probe):
    trainer = probe[0].seen["trainer"]
    read = ("accumulate_grad_batches", "callbacks", "global_step", "max_epochs", "precision", "progress_bar_callback")
    missing = [name for name in (*read, "world_size", "enable_validation") if not hasattr(trainer, name)]
    assert missing == [], because(f"Lightning's trainer has no {missing}", "pretraining/strategy.py")
    assert isinstance(trainer.callbacks, list), because(
        "its callbacks are no list to add to", "pretraining/strategy.py"
    )


def test_a_checkpoint_has_an_entry_of_these_models(probe):
    file = "pretraining/saved_models.py"
    entry = probe[0].seen["checkpoint"]["lightly_train"]
    names = {"version", "date", "models", "normalize_args", "license_info"}
    assert set(entry) == names, because("LightlyTrain's entry of a checkpoint has other names", file)
    assert set(entry["models"]) == {"model", "wrapped_model", "embedding_model"}, because("it has other models", file)
    assert all(callable(model.state_dict) for model in entry["models"].values()), because("they are no modules", file)
    assert {"epoch", "global_step", "state_dict", "loops", "callbacks"} <= set(probe[0].seen["checkpoint"]), because(
        "Lightning's checkpoints have other entries", "checkpoint/saved_run.py"
    )


def test_the_export_is_the_state_dict_of_the_model_in_this_file(probe):
    file = probe[2] / "run" / "exported_models" / "exported_last.pt"
    assert file.is_file(), because("LightlyTrain exports to another file", "pretraining/pretrain.py")
    state = torch.load(file, weights_only=True)
    model = probe[1].seen["checkpoint"]["lightly_train"]["models"]["model"].state_dict()
    assert state.keys() == model.keys(), because("what it exports is not the model", "pretraining/export.py")
    assert all(torch.equal(state[name], model[name]) for name in state), because("its weights", "pretraining/export.py")


def test_the_seed_of_a_run_is_in_the_environment(probe):
    what = because("LightlyTrain's seed is not in PL_GLOBAL_SEED", "pretraining/strategy.py")
    assert probe[0].seen["seed"] == "5", what


def test_folders_are_where_the_environment_says(probe):
    out = probe[2]
    assert (out / "tmp").is_dir(), because("LIGHTLY_TRAIN_TMP_DIR means nothing", "pretraining/environment.py")
    assert (out / "cache").is_dir(), because("LIGHTLY_TRAIN_DATA_CACHE_DIR means nothing", "pretraining/environment.py")


def test_a_distributed_sampler_is_kept():
    class Ours(DistributedSampler):
        def __init__(self):
            self.epoch = 0

        def __iter__(self):
            return iter(range(3))

        def __len__(self):
            return 3

    class Model(pytorch_lightning.LightningModule):
        def training_step(self, batch):
            epochs.append(loader.sampler.epoch)

        def configure_optimizers(self):
            return None

    epochs, loader = [], DataLoader(range(3), sampler=Ours())
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    pytorch_lightning.Trainer(accelerator="cpu", max_epochs=2, **quiet).fit(Model(), loader)
    assert epochs == [0, 0, 0, 1, 1, 1], because("Lightning does not tell a sampler its epoch", "loading/sampler.py")


def test_transforms_take_generators_to_draw_from():
    file = "pretraining/reseed.py"
    image = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)
    transform = Compose([RandomResizedCrop((16, 16)), HorizontalFlip(p=0.5)])

    def draw(seed):
        for one in (transform, *transform.transforms):
            assert callable(getattr(one, "set_random_state", None)), because("no `set_random_state`", file)
            one.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return [transform(image=image)["image"] for _ in range(8)]

    first, again, other = draw(1), draw(1), draw(2)
    assert all(map(np.array_equal, first, again)), because("transforms draw from other generators", file)
    assert not all(map(np.array_equal, first, other)), because("transforms do not draw from what they are given", file)


def test_errors_about_arguments_have_one_base():
    from lightly_train import errors

    file = "pretraining/lightly.py"
    assert issubclass(errors.ConfigValidationError, errors.LightlyTrainError), because("its errors changed", file)


def test_bfloat16_views_cannot_be_plotted():
    # If this fails, LightlyTrain can train in bf16-true perhaps: try it, and take the refusal out.
    with pytest.raises(TypeError, match="BFloat16"):
        torchvision.transforms.functional.to_pil_image(torch.zeros(3, 2, 2, dtype=torch.bfloat16))
