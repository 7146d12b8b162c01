"""Image files told by their headers: what a JPEG may have after its end, and what is missing when it was cut."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.image_header import find_jpeg_end, read_header
from sharding.errors import DataError


def save(kind="JPEG", mode="RGB", size=(48, 32), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


PLAIN = save()
JPEGS = {
    "baseline": PLAIN,
    "grey": save(mode="L"),
    "CMYK": save(mode="CMYK"),
    "progressive": save(progressive=True),
    "restart markers": save(restart_marker_rows=1),
    "comment": save(comment=b"a comment with \xff\xd9 in it"),
    "thumbnail": save(exif=b"Exif\0\0" + save(size=(16, 8))),
    "one pixel": save(size=(1, 1)),
    "fill bytes": PLAIN[:-2] + b"\xff\xff\xff\xd9",
}
AFTER_THE_END = {
    "nothing": b"",
    "zeros": bytes(999),
    "line feed": b"\n",
    "film": b"\0\0\0\x18ftypmp42" + np.random.default_rng(2).bytes(5000),
    "second image": save(size=(16, 8)),
}


@pytest.mark.parametrize("jpeg", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("after", AFTER_THE_END.values(), ids=AFTER_THE_END)
def test_the_end_is_found_whatever_comes_before_and_after_it(jpeg, after):
    assert find_jpeg_end(jpeg + after) == len(jpeg)
    size = Image.open(io.BytesIO(jpeg)).size
    header = read_header(jpeg + after)
    assert (header.ext, header.width, header.height, header.plain) == ("jpg", *size, False)


@pytest.mark.parametrize("jpeg", JPEGS.values(), ids=JPEGS)
def test_a_cut_is_found_wherever_it_is(jpeg):
    for kept in range(len(jpeg)):
        assert find_jpeg_end(jpeg[:kept]) is None


@pytest.mark.parametrize("cut", [0.5, 0.9, -2, -1])
def test_a_truncated_jpeg_is_refused_by_its_header(cut):
    jpeg = save(size=(300, 200), exif=b"Exif\0\0" + save(size=(16, 8)))
    kept = jpeg[: int(cut * len(jpeg)) if cut > 0 else cut]
    with pytest.raises(DataError, match=r"end marker.*it is truncated"):
        read_header(kept)


def test_pictures_of_two_images_are_jpegs():
    second = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    mpo = save("MPO", save_all=True, append_images=[second])
    assert b"MPF\0" in mpo
    assert read_header(mpo).ext == "jpg"
    end = find_jpeg_end(mpo)
    assert 0 < end < len(mpo)
    with pytest.raises(DataError, match="truncated"):
        read_header(mpo[: end - 1])


def png_of_16_bits_a_channel():
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(2 * (1 + 18)))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("mode", "options", "plain"),
    [
        ("RGB", {}, True),
        ("RGB", {"transparency": (1, 2, 3)}, False),
        *((mode, {}, False) for mode in ("RGBA", "L", "LA", "P", "1", "I;16")),
    ],
)
def test_a_plain_png_is_one_of_three_bytes_a_pixel(mode, options, plain):
    if mode == "I;16":
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((32, 48), np.uint16)).save(buffer, "PNG")
        data = buffer.getvalue()
    else:
        data = save("PNG", mode, **options)
    header = read_header(data)
    assert (header.ext, header.width, header.height, header.plain) == ("png", 48, 32, plain)


def test_a_png_of_sixteen_bits_a_channel_is_not_plain_though_pillow_calls_it_rgb():
    data = png_of_16_bits_a_channel()
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    assert not read_header(data).plain


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_another_format_is_refused_by_name(kind):
    with pytest.raises(DataError, match=f"expected a JPEG or PNG, found {kind}"):
        read_header(save(kind))
