"""Image files of very many pieces are refused before they take minutes; others are read."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharding.codecs.image import decode_image, open_image
from sharding.codecs.pieces import _count_scans
from sharding.errors import DataError


def encode(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


PNG, JPEG, GIF = encode("PNG"), encode("JPEG", progressive=True), encode("GIF")
SCAN = JPEG[JPEG.rindex(b"\xff\xda") : -2]


def png(count):
    return PNG[:33] + chunk(b"tEXt", b"a\0b") * count + PNG[33:]


def segments(count):
    return JPEG[:2] + b"\xff\xfe\0\x02" * count + JPEG[2:]


def scans(count):
    return JPEG[:-2] + SCAN * count + JPEG[-2:]


def gif(count):
    at = GIF.index(b",", 13)
    return GIF[:at] + b"!\xfe" + (b"\xff" + b"x" * 255) * count + b"\0" + GIF[at:]


PIECES = {"png": (png, 100, 200_000), "segments": (segments, 100, 200_000), "scans": (scans, 20, 500)}
PIECES |= {"gif": (gif, 50, 20_000)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "few", "many"), PIECES.values(), ids=PIECES)
def test_many_pieces_are_refused_at_once_and_a_few_are_read(make, few, many):
    assert decode_image(make(few)).shape == (6, 8, 3)
    data, begun = make(many), time.process_time()
    with pytest.raises(DataError, match=r"or more (chunks|segments|scans|blocks) of a (PNG|JPEG|GIF); at most \d+ are"):
        decode_image(data)
    assert time.process_time() - begun < 2


def test_what_follows_a_jpeg_is_not_counted_as_scans():
    film = np.random.default_rng(0).bytes(30_000_000)
    assert film.count(b"\xff\xda") > 300
    assert decode_image(JPEG + film).shape == (6, 8, 3)


def test_a_tile_larger_than_any_image_is_refused_before_memory_is_taken_for_it():
    entries = [(256, 10), (257, 10), (258, 8), (259, 5), (262, 1), (277, 1), (322, 32_000), (323, 32_000), (324, 134)]
    entries.append((325, 100))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    with pytest.raises(DataError, match="32000 x 32000 pixels"), open_image(head + tags + bytes(104)):
        pass


@given(st.lists(st.sampled_from([b"\xff\xda", b"\xff", b"\xda", b"x", b""]), max_size=60).map(b"".join))
def test_pairs_are_counted_as_bytes_counts_them(data):
    assert _count_scans(data) == data.count(b"\xff\xda")
