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
