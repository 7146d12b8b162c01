import pytest

from sharding.errors import UsageError
from training.pretraining.augmentations import get_transform_args


def test_the_tutorials_augmentations():
    assert get_transform_args("conservative") == {
        "random_flip": {"vertical_prob": 0.0, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 15},
    }
    assert get_transform_args("aggressive") == {
        "random_flip": {"vertical_prob": 0.5, "horizontal_prob": 0.5},
        "random_rotation": {"prob": 1.0, "degrees": 90},
    }
    get_transform_args("aggressive")["random_flip"]["vertical_prob"] = 0.0
    assert get_transform_args("aggressive")["random_flip"]["vertical_prob"] == 0.5
    with pytest.raises(UsageError, match="there are conservative, aggressive"):
        get_transform_args("gentle")


def test_each_factor_of_the_two_experiments_can_be_set_apart():
    aggressive, conservative = get_transform_args("aggressive"), get_transform_args("conservative")
    assert get_transform_args("conservative", vertical_flip=0.5, rotation=90) == aggressive
    assert get_transform_args("aggressive", vertical_flip=0, rotation=15) == conservative
    flipped = get_transform_args("conservative", vertical_flip=0.25)
    assert flipped["random_flip"] == {"vertical_prob": 0.25, "horizontal_prob": 0.5}
    assert flipped["random_rotation"] == conservative["random_rotation"]
    assert get_transform_args("aggressive", rotation=0)["random_rotation"] is None
    assert get_transform_args("aggressive") == aggressive
