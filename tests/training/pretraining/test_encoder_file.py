"""`encoder.pt`, loaded by those who use it."""

import lightly_train
import pytest
import torch
import torchvision

from training.config import PretrainConfig
from training.pretraining.pretrain import run

MODEL = "torchvision/resnet18"
MACHINE = {"num_workers": 0, "accelerator": "cpu", "devices": 1, "loggers": {"tensorboard": None}, "batch_size": 8}


@pytest.fixture(scope="module")
def encoder(megadepth_set, tmp_path_factory):
    small = {"model": MODEL, "method": "simclr", "epochs": 1, "batch_size": 8, "image_size": 32}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1"}
    out = str(tmp_path_factory.mktemp("runs") / "run")
    return run(PretrainConfig(sets=(megadepth_set.url,), out=out, **small | machine)).data["encoder"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No reports over the network, no files outside the tests."""
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))


def test_torchvision_loads_it_strictly_and_lightly_trains_on_from_it(encoder, tmp_path):
    model = torchvision.models.resnet18()
    state = torch.load(encoder, weights_only=True)
    model.load_state_dict(state, strict=True)
    lightly_train.pretrain(out=tmp_path / "out", data=["0.jpg"], model=model, method="simclr", epochs=0, **MACHINE)
    exported = torch.load(tmp_path / "out" / "exported_models" / "exported_last.pt", weights_only=True)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], state[name]) for name in state)


@pytest.mark.parametrize("change", ["nothing", "a name more", "another shape"])
def test_lightly_loads_the_file_strictly_as_that_of_a_teacher(change, encoder, tmp_path):
    state, file = torch.load(encoder, weights_only=True), tmp_path / "teacher.pt"
    changes = {"a name more": {"more": torch.zeros(1)}, "another shape": {"conv1.weight": torch.zeros(64, 1, 7, 7)}}
    torch.save(state | changes.get(change, {}), file)
    options = {"method": "distillation", "method_args": {"teacher": MODEL, "teacher_weights": str(file)}, "epochs": 0}

    def load():
        lightly_train.pretrain(out=tmp_path / "out", data=["0.jpg"], model=MODEL, **options, **MACHINE)

    if change == "nothing":
        load()
        return
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict for ResNet"):
        load()
