import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, JpegImagePlugin

from sharding.codecs.image import decode_image, encode_jpeg, open_image
from sharding.errors import DataError


def encode_image(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA", "I;16"])
def test_every_image_mode_becomes_rgb(mode):
    rgb = Image.fromarray(np.full((5, 6, 3), 200, np.uint8))
    odd = {"I;16": Image.fromarray(np.full((5, 6), 200 * 257, np.uint16)), "P": rgb.quantize(4)}
    image = odd.get(mode) or rgb.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    pixels = decode_image(buffer.getvalue())
    assert pixels.shape == (5, 6, 3)
    assert pixels.dtype == np.uint8
    if mode != "1":
        assert np.abs(pixels.astype(int) - 200).max() <= 1


def test_a_truncated_image_is_an_error_and_not_half_grey(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as importing lightly_train leaves it
    data = encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="readable image"):
        decode_image(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # what the process has chosen is its own
    with open_image(data):
        decode_image(data)  # as another thread does meanwhile
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def scaled(table, quality):
    """A table of quality 50, at another quality: the formula of the Independent JPEG Group."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((value * percent + 50) // 100, 1), 255) for value in table]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [1, 40, 90, 95, 100])
def test_a_jpeg_has_the_tables_and_the_sampling_that_are_asked_for(quality, subsampling):
    middle = Image.open(io.BytesIO(encode_image(Image.fromarray(photo(20, 30, 3)), "JPEG", quality=50)))
    with Image.open(io.BytesIO(encode_jpeg(photo(20, 30, 3), quality, subsampling))) as image:
        assert image.quantization == {number: scaled(table, quality) for number, table in middle.quantization.items()}
        assert JpegImagePlugin.get_sampling(image) == ["4:4:4", "4:2:2", "4:2:0"].index(subsampling)
        assert "progressive" not in image.info


def test_a_jpeg_is_of_quality_95_with_all_its_colour_unless_another_is_asked_for():
    assert encode_jpeg(photo(20, 30, 3)) == encode_jpeg(photo(20, 30, 3), 95, "4:4:4")


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, pixels):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def resized(jpeg, width, height):
    """The JPEG with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


BILLION = {
    "ppm": b"P6 40000 25000 255\n",
    "png": png(40_000, 25_000, zlib.compress(b"")),
    "png of half": png(20_000, 15_000, zlib.compress(b"")),
    "jpeg": resized(encode_image(Image.fromarray(photo(8, 8, 3)), "JPEG"), 40_000, 25_000),
}


@pytest.mark.parametrize("data", BILLION.values(), ids=BILLION)
def test_an_image_of_a_billion_pixels_is_refused_before_it_is_decoded(data):
    with pytest.raises(DataError, match="pixels"):
        decode_image(data)


def test_a_png_with_more_pixels_than_its_header_says_is_decoded_no_further():
    rows = bytes(3 * (1 + 3 * 5))
    assert decode_image(png(5, 3, zlib.compress(rows + bytes(50_000_000)))).shape == (3, 5, 3)


def test_no_other_program_is_run_for_a_format_we_do_not_know():
    with pytest.raises(DataError, match="no known image format"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_the_reason_is_the_same_each_time():
    reasons = set()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            decode_image(b"no image at all")
        reasons.add(str(caught.value))
    assert reasons == {"expected a readable image, found 15 bytes that fail to decode: no known image format"}


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), OverflowError("wide"), struct.error("x")])
def test_whatever_a_decoder_dies_of_is_a_data_error(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=str(error) or "MemoryError"):
        decode_image(b"")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_damaged_image_decodes_or_is_a_data_error(kind):
    whole, random = encode_image(Image.fromarray(photo(16, 20, 3)), kind), np.random.default_rng(1)
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 400), 3):
            data[at] = random.integers(0, 256)
        try:
            assert decode_image(bytes(data)).ndim == 3
            outcomes.add("decoded")
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert ("decoded" in outcomes) == (kind != "PNG")  # its chunks have checksums


def levels(*values):
    return np.array([values], np.uint16)


SIXTEEN = levels(0, 128, 129, 257, 385, 386, 1000, 65406, 65407, 65535)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_rounded_to_8(kind):
    found = decode_image(encode_image(Image.fromarray(SIXTEEN), kind))
    assert found[0, :, 1].tolist() == [0, 0, 1, 1, 1, 2, 4, 254, 255, 255]


def test_every_16_bit_level_is_rounded_to_the_nearest():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decode_image(encode_image(Image.fromarray(every), "PNG"))[..., 0]
    np.testing.assert_array_equal(found, np.rint(every / 257))


UNKNOWN = {
    "float": (Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)), {}, "floating point"),
    "32 bits": (Image.fromarray(np.arange(12, dtype=np.int32).reshape(3, 4)), {}, r"grey of \(32,\) bits"),
    "0 is white": (Image.fromarray(SIXTEEN), {262: 0}, ".* photometric interpretation 0"),
}


@pytest.mark.parametrize(("image", "tags", "reason"), UNKNOWN.values(), ids=UNKNOWN)
def test_levels_without_a_known_range_are_refused(image, tags, reason):
    with pytest.raises(DataError, match=f"levels from 0 to 255 or from 0 to 65535 are read, these are {reason}"):
        decode_image(encode_image(image, "TIFF", tiffinfo=tags))


def test_a_float_map_in_another_format_is_refused():
    with pytest.raises(DataError, match="floating point"):
        decode_image(b"Pf\n2 1\n-1.0\n" + np.array([0.2, 0.9], "<f4").tobytes())
