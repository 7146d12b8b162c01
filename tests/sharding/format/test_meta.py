import pytest

from sharding.errors import DataError
from sharding.format.meta import decode_meta
from sharding.limits import MAX_META_BYTES

WHERE = "shard s, key k"


def test_what_a_member_says_is_kept():
    content = {"scene": "1", "height": 3, "depth_min": None, "source": {"image": "caf\udce9"}, "more": [1]}
    data = b'{"scene":"1","height":3,"depth_min":null,"source":{"image":"caf\\udce9"},"more":[1]}'
    assert decode_meta(data, WHERE) == content
    assert decode_meta(b"{}", WHERE) == {}
    assert decode_meta(b'{"later": NaN}', WHERE)["later"] != 0  # Python writes it, and sets made elsewhere have it


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected JSON, found 0 bytes"),
        (b"\xff\xfe", "expected JSON, found 2 bytes"),
        (b"[1]", "expected object, found a list of 1"),
        (b'{"scene": 1}', "scene: expected str, found 1"),
        (b'{"height": -1}', "height: expected int >= 0, found -1"),
        (b'{"depth_kind": "far"}', "depth_kind: expected one of "),
        (b'{"valid_fraction": 2}', "valid_fraction: expected float <= 1"),
        (b'{"a": ' * 9000 + b"1" + b"}" * 9000, "expected JSON of a few levels"),
        (b" " * (MAX_META_BYTES + 1), f"found {MAX_META_BYTES + 1} bytes; at most"),
    ],
)
def test_what_is_no_member_is_refused_with_its_sample(data, said):
    with pytest.raises(DataError) as caught:
        decode_meta(data, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: member .json: {said}")
