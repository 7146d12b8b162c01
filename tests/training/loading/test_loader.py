import torch
from torch.utils.data import Dataset

from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler


class Places(Dataset):
    """Items that tell which process made them."""

    def __getitem__(self, item):
        info = torch.utils.data.get_worker_info()
        return {"place": torch.tensor(item[1]), "worker": torch.tensor(-1 if info is None else info.id)}


def test_a_loader_keeps_its_workers_and_pins_if_asked():
    sampler = TrainSampler(10, 4)
    loader = build_loader(Places(), sampler, Loading(batch_size=2, num_workers=1, pin_memory=True))
    assert (loader.persistent_workers, loader.pin_memory) == (True, True)
    alone = build_loader(Places(), sampler, Loading(batch_size=2))
    assert (alone.persistent_workers, alone.pin_memory) == (False, False)  # torch refuses to keep no workers


def test_what_is_less_than_a_global_batch_is_left_for_another_epoch():
    loader = build_loader(Places(), TrainSampler(10, 4), Loading(batch_size=2))
    assert [batch["place"].tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5], [6, 7]]
