"""Damaged files of every kind decode, or raise a DataError, and nothing else."""

import contextlib
import io

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sharding.codecs.hdf5 import read_depth
from sharding.codecs.image import decode_image
from sharding.codecs.image_header import read_header
from sharding.codecs.log16 import decode_log16, encode_log16
from sharding.codecs.log16_planes import decode_log16_planes, encode_log16_planes
from sharding.codecs.npy import encode_npy, load_npy
from sharding.codecs.parts import decode_valid
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import decode_planes, encode_planes
from sharding.codecs.rows import encode_rows
from sharding.errors import DataError

DEPTH = np.arange(1, 49, dtype=np.float32).reshape(6, 8)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def image(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def hdf5(**options):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("depth", data=DEPTH, **options)
    return buffer.getvalue()


FILES = {
    "png": (decode_image, image("PNG")),
    "jpeg": (decode_image, image("JPEG")),
    "progressive": (decode_image, image("JPEG", progressive=True)),
    "tiff": (decode_image, image("TIFF", compression="tiff_lzw")),
    "webp": (decode_image, image("WEBP")),
    "jpeg 2000": (decode_image, image("JPEG2000")),
    "gif": (decode_image, image("GIF")),
    "bmp": (decode_image, image("BMP")),
    "ppm": (decode_image, image("PPM")),
    "header of png": (read_header, image("PNG")),
    "header of jpeg": (read_header, image("JPEG")),
    "npy": (load_npy, encode_npy(DEPTH)),
    "planes": (decode_planes, encode_planes(DEPTH)),
    "valid": (decode_valid, encode_npy(DEPTH > 9)),
    "log16": (decode_log16, encode_log16(DEPTH, DEPTH > 9)),
    "rows": (decode_image, encode_rows(PIXELS)),
    "valid as bits": (decode_valid, encode_pbm(DEPTH > 9)),
    "log16 in planes": (decode_log16_planes, encode_log16_planes(DEPTH, DEPTH > 9)),
    "hdf5": (read_depth, hdf5()),
    "hdf5 in chunks": (read_depth, hdf5(chunks=(3, 4), compression="gzip", shuffle=True, fletcher32=True)),
}


@st.composite
def mutations(draw, data):
    """The file with bytes replaced, removed, repeated or cut."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed) - 1)) if changed else 0
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(("byte", "bytes", "bit", "cut", "remove", "repeat"))):
            case "byte":
                changed[at : at + 1] = bytes([draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))])
            case "bytes":
                changed[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "bit" if changed:
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del changed[at:]
            case "remove":
                del changed[at : at + length]
            case "repeat":
                changed[at:at] = changed[at : at + length]
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("decode", "whole"), FILES.values(), ids=FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_damaged_file_decodes_or_is_a_data_error(decode, whole, data):
    decode(whole)
    with contextlib.suppress(DataError):
        decode(data.draw(mutations(whole)))
