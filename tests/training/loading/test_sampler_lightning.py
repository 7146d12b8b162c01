"""What the samplers must hold against Lightning itself: its loops, its fetchers, its resume."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

from training.loading.sampler import EvalSampler, TrainSampler


class Stop(Exception):
    pass


class Echo(Dataset):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item


class Recorder(LightningModule):
    """Learns nothing; writes down the (epoch, position) pairs that its steps were given."""

    def __init__(self, stop_after: int = 10**6) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stop_after, self.trained, self.validated = stop_after, [], []

    def training_step(self, batch, index):
        if len(self.trained) == self.stop_after:
            raise Stop
        self.trained.append([*zip(*(part.tolist() for part in batch), strict=True)])
        return self.weight.sum()

    def validation_step(self, batch, index):
        self.validated.append([*zip(*(part.tolist() for part in batch), strict=True)])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, sampler, folder, *, num_workers=0, checkpoint=None) -> Trainer:
    train = DataLoader(Echo(), sampler.batch_size, sampler=sampler, num_workers=num_workers)
    validate = DataLoader(Echo(), 2, sampler=EvalSampler(5, 2))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")],
    )
    trainer.fit(module, train, validate, ckpt_path=checkpoint, weights_only=True)
    return trainer


def whole_run() -> list[list[tuple[int, int]]]:
    """3 epochs of 4 steps of 2 out of 9 samples."""
    return [[(epoch, first), (epoch, first + 1)] for epoch in range(3) for first in (0, 2, 4, 6)]


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*not resumable", "ignore:Checkpoint dir"
)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_lightning_keeps_the_samplers_and_tells_them_the_epoch(tmp_path, num_workers):
    module, sampler = Recorder(), TrainSampler(9, 2)
    trainer = fit(module, sampler, tmp_path, num_workers=num_workers)
    assert trainer.train_dataloader.sampler is sampler
    assert module.trained == whole_run()
    assert module.validated == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]] * 3
    assert trainer.num_training_batches == 4


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [1, 4, 6, 8, 11])
def test_lightning_goes_on_where_the_sampler_was_told_to(tmp_path, step, num_workers):
    with pytest.raises(Stop):
        fit(Recorder(stop_after=step), TrainSampler(9, 2), tmp_path)
    module, sampler = Recorder(), TrainSampler(9, 2)
    sampler.resume(step // 4, 2 * (step % 4))  # after a whole epoch Lightning goes on with the next
    trainer = fit(module, sampler, tmp_path, num_workers=num_workers, checkpoint=tmp_path / f"step={step}.ckpt")
    assert module.trained == whole_run()[step:]
    assert (trainer.global_step, trainer.current_epoch) == (12, 3)
