"""Distillation from a small teacher, without a network."""

import dataclasses

import lightly_train
import pytest
import torch
import torchvision

from sharding.errors import DataError
from training.config import PretrainConfig
from training.pretraining.pretrain import run

TEACHER = "dinov2/_vittest14"


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    """The state dict of a small teacher, as LightlyTrain exports it."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
        patch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(folder / "cache"))
        options = {
            "method": "simclr",
            "epochs": 0,
            "batch_size": 1,
            "num_workers": 0,
            "accelerator": "cpu",
            "devices": 1,
        }
        data = [str(folder / "0.jpg")]
        lightly_train.pretrain(
            out=folder, data=data, model=TEACHER, loggers={"tensorboard": None}, overwrite=True, **options
        )
    return folder / "exported_models" / "exported_last.pt"


def config(samples, out, **options):
    small = {"model": "torchvision/resnet18", "epochs": 1, "batch_size": 8, "image_size": 56, "teacher": TEACHER}
    machine = {"num_workers": 0, "accelerator": "cpu", "devices": "1"}
    return PretrainConfig(sets=(samples.url,), out=str(out), **small | machine | options)


def load(encoder):
    return torch.load(encoder, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["distillation", "distillationv1", "distillationv2", "distillationv3"])
def test_a_student_learns_from_a_file_of_weights_and_can_be_resumed(method, megadepth_set, teacher_file, tmp_path):
    options = config(megadepth_set, tmp_path / "run", method=method, teacher_weights=str(teacher_file))
    encoder = load(run(options).data["encoder"])
    torchvision.models.resnet18().load_state_dict(encoder, strict=True)
    assert f'"teacher_weights": "{teacher_file}"' in (tmp_path / "run" / "lightly" / "train.log").read_text()
    untrained = load(run(dataclasses.replace(options, out=str(tmp_path / "untrained"), epochs=0)).data["encoder"])
    assert not torch.equal(encoder["conv1.weight"], untrained["conv1.weight"])
    (tmp_path / "run" / "encoder.pt").unlink()
    again = load(run(dataclasses.replace(options, resume=True)).data["encoder"])
    assert all(torch.equal(encoder[name], again[name]) for name in encoder)


def test_weights_of_another_teacher_are_named(megadepth_set, teacher_file, tmp_path):
    other = tmp_path / "other.pt"
    torch.save(load(teacher_file) | {"more": torch.zeros(1)}, other)
    options = config(megadepth_set, tmp_path / "run", method="distillation", teacher_weights=str(other))
    with pytest.raises(DataError, match=rf"^{other} holds another model: .*Unexpected key\(s\) in state_dict: .more"):
        run(options)
