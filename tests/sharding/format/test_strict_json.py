"""What is said of a value that is not of its type: field, expected and found, whatever the fields are called."""

from typing import Annotated, Any

import msgspec
import pytest

from sharding.errors import DataError
from sharding.format.strict_json import Count, to_type


class Inner(msgspec.Struct):
    numbers: list[Count]


class Outer(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(pattern="^2")] = msgspec.field(name="pytorch-lightning_version")
    count: Count = 0
    inner: dict[str, Inner] = {}
    pair: tuple[Count, Any] = (0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pytorch-lightning_version": "1.0.0"}, 'x: pytorch-lightning_version: expected .*, found "1.0.0"'),
        ({"pytorch-lightning_version": 2}, "x: pytorch-lightning_version: expected str, found 2"),
        ({}, "x: expected a field pytorch-lightning_version, found none"),
        ({"pytorch-lightning_version": "2", "count": (1, {(1, 2): 3})}, "x: count: expected int, found a list of 2"),
        ({"pytorch-lightning_version": "2", "count": {(1, 2): 3}}, "x: count: expected int, found an object of 1"),
        ({"pytorch-lightning_version": "2", "count": b"1"}, r'x: count: expected int, found "\(bytes\)"'),
        ({"pytorch-lightning_version": "2", "inner": {"a b": {"numbers": [1, "2"]}}}, "x: inner.*numbers"),
        ({"pytorch-lightning_version": "2", "pair": ["a", 1]}, r'x: pair\[0\]: expected int, found "a"'),
    ],
)
def test_field_expected_and_found_are_named(content, said):
    with pytest.raises(DataError, match=said):
        to_type(content, Outer, "x")
