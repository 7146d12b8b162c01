import numpy as np
import pytest
import torch

from sharding.errors import DataError
from training.loading.bad_samples import MARK, BadSample
from training.loading.view_batch import ViewBatch, Written, make_item

SIZE = (4, 6)


def writer(number, log=None, **said):
    def write(into):
        if log is not None:
            log.append(f"written {number}")
        into.image[:], into.depth[:], into.valid[:] = number, number / 2, number % 2
        return Written(key=f"k{number}", weight=1.0, colour=(1.0, 0.5, number / 4), **said)

    return write


def test_a_batch_is_what_the_writers_wrote():
    batch = ViewBatch(3, SIZE, [writer(number) for number in range(3)]).fill()
    assert batch["key"] == ["k0", "k1", "k2"]
    expected = {
        "image": (torch.uint8, (3, 3, 4, 6)),
        "depth": (torch.float32, (3, 1, 4, 6)),
        "valid": (torch.bool, (3, 1, 4, 6)),
        "colour": (torch.float32, (3, 3)),
        "weight": (torch.float32, (3,)),
    }
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items() if name != "key"} == expected
    for number in range(3):
        assert (batch["image"][number] == number).all()
        assert (batch["depth"][number] == number / 2).all()
        assert (batch["valid"][number] == bool(number % 2)).all()
        assert batch["colour"][number].tolist() == [1.0, 0.5, number / 4]


def test_a_sample_is_decoded_when_its_turn_comes():
    log = []

    def decoded():
        for number in range(3):
            log.append(f"decoded {number}")
            yield writer(number, log)

    ViewBatch(3, SIZE, decoded()).fill()
    assert log == [f"{what} {number}" for number in range(3) for what in ("decoded", "written")]


def test_marks_of_damaged_samples_are_beside_the_views():
    bad = BadSample(7, "k1", "a reason")
    batch = ViewBatch(2, SIZE, [writer(0), writer(1, bad=bad)]).fill()
    assert batch[MARK] == [bad]
    assert MARK not in ViewBatch(1, SIZE, [writer(0)]).fill()


def test_an_error_of_a_sample_is_that_of_the_batch():
    def fail(into):
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        ViewBatch(2, SIZE, [writer(0), fail]).fill()


def test_an_item_is_a_batch_of_one_without_its_axis():
    item, batch = make_item(SIZE, writer(3)), ViewBatch(1, SIZE, [writer(3)]).fill()
    assert item.keys() == batch.keys()
    assert item["key"] == "k3"
    assert make_item(SIZE, writer(3, bad=BadSample(3, "k3", "a reason")))[MARK].key == "k3"
    for name in ("image", "depth", "valid", "colour", "weight"):
        assert np.array_equal(item[name].numpy(), batch[name][0].numpy())
