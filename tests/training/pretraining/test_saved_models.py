"""LightlyTrain's entry of a checkpoint: state dicts go in, and what gives them back comes out; nothing else does."""

import copy

import pytest
import torch

from sharding.errors import DataError
from training.pretraining.saved_models import naming_another_model, with_models, without_modules

NAMES = ("model", "wrapped_model", "embedding_model")


@pytest.fixture
def checkpoint():
    about = {"version": "0.18.0", "date": "2026-11-28T10:00:00.123456+00:00", "license_info": None}
    entry = {"models": {name: torch.nn.Linear(2, 2) for name in NAMES}, "normalize_args": {"mean": [0.5], "std": [0.2]}}
    return {"epoch": 1, "lightly_train": entry | about}


def test_every_state_dict_comes_back_from_a_file_of_plain_values(checkpoint, tmp_path):
    file = tmp_path / "last.ckpt"
    torch.save(without_modules(checkpoint), file)
    found = with_models(torch.load(file, weights_only=True), file)
    for name in NAMES:
        before, after = (one["lightly_train"]["models"][name].state_dict() for one in (checkpoint, found))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert {name: found["lightly_train"][name] for name in ("version", "date", "normalize_args")} == {
        name: checkpoint["lightly_train"][name] for name in ("version", "date", "normalize_args")
    }
    assert isinstance(checkpoint["lightly_train"]["models"]["model"], torch.nn.Linear), "the one in memory stays"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("date",), "yesterday", "lightly_train.date: invalid RFC3339"),
        (("version",), 3, "lightly_train.version: expected str, found 3"),
        (("models",), {}, "lightly_train.models: expected a field model, found none"),
        (("models", "model"), [], "lightly_train.models.model: expected object, found a list of 0"),
        (
            ("models", "model", "weight"),
            3,
            "lightly_train/models/model: expected tensors, found another value at weight",
        ),
        (("normalize_args", "mean"), ["x"], r'lightly_train.normalize_args.mean\[0\]: expected float, found "x"'),
        (("more",), 1, "lightly_train: expected no field more"),
    ],
)
def test_an_entry_of_another_form_is_refused_by_field(checkpoint, tmp_path, path, value, said):
    plain = copy.deepcopy(without_modules(checkpoint))
    place = plain["lightly_train"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(DataError, match=rf"^last\.ckpt: {said}"):
        with_models(plain, "last.ckpt")


def test_a_checkpoint_of_another_program_is_refused():
    with pytest.raises(DataError, match=r"^last\.ckpt: expected a checkpoint of `depthstream pretrain`"):
        with_models({"epoch": 1}, "last.ckpt")
    assert without_modules({"epoch": 1}) == {"epoch": 1}


def test_weights_of_another_model_are_said_in_a_line():
    with pytest.raises(
        DataError, match=r"^the checkpoint holds another model: .* for Linear: size mismatch for weight"
    ):
        with naming_another_model():
            torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict())
    with pytest.raises(RuntimeError, match="other"), naming_another_model():
        raise RuntimeError("other")
