import base64
import json
import random
import zlib

import pytest

from sharding.archives.seek_point import SeekPoint, enter_gzip
from sharding.errors import DataError


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("window_bytes", [1000, 5000, 32768])
def test_a_block_that_begins_at_any_bit_is_entered_with_its_window_and_checksum(shift, window_bytes):
    before = random.Random(shift).randbytes(40_000)
    window = before[-window_bytes:]
    # last block, fixed codes: length 5 (code 259), distance 1000 (code 19: 769 + 231 in 8 bits), end of block
    distance = [int(bit) for bit in f"{19:05b}"] + [231 >> index & 1 for index in range(8)]
    block = [1, 1, 0] + [0, 0, 0, 0, 0, 1, 1] + distance + [0] * 7
    whole = before + before[-1000:-995]
    junk = [1] * shift  # bits of the block before
    stream = sum(bit << index for index, bit in enumerate(junk + block)).to_bytes(5, "little")
    start = enter_gzip(SeekPoint(bit=shift, offset=40_000, crc32=zlib.crc32(before), window=window), stream[0])
    plain = zlib.decompressobj(-15).decompress((start.prefix + stream[start.start :])[10:])
    assert plain[start.plain_bytes :] == whole[40_000:]
    assert plain[start.plain_bytes - window_bytes : start.plain_bytes] == window
    assert zlib.crc32(plain) == zlib.crc32(whole)


def test_a_point_survives_being_saved():
    point = SeekPoint(bit=12345, offset=99, crc32=7, window=random.Random(0).randbytes(32768))
    assert SeekPoint.decode(point.encode()) == point
    assert len(point.encode()) < 45_000


def saved(**fields):
    window = base64.b85encode(zlib.compress(b"w")).decode()
    return json.dumps({"bit": 1, "offset": 1, "crc32": 1, "window": window} | fields).encode()


BOMB = base64.b85encode(zlib.compress(bytes(1 << 26))).decode()


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"{}", b"[]", b'{"window": "!!"}', b"\xff\xfe", saved(bit="1"), saved(offset=-1), saved(crc32=1 << 32)],
        *[saved(window=None), saved(window=BOMB), saved(window=""), b"[" * 9000],
    ],
)
def test_what_is_no_point_is_an_error(data):
    assert SeekPoint.decode(saved()).window == b"w"
    with pytest.raises(DataError, match=r"^saved seek point: .*expected"):
        SeekPoint.decode(data)
