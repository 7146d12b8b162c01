import io

import numpy as np
import pytest
import torch
from PIL import Image

from sharding.codecs.image import decode_image
from sharding.codecs.rows import encode_rows
from sharding.errors import DataError
from training.loading.decode import decode_rgb
from training.views.area import shrink
from training.views.boxes import Boxes
from training.views.draws import draw_views
from training.views.recipe import ViewRecipe
from training.views.reduced import choose_divisors, decode_reduced, read_size

RECIPE = (ViewRecipe(height=96, width=96, scale=(0.08, 1.0), ratio=(0.75, 4 / 3)),)


def draft(data, divisor):
    """What Pillow decodes at a fraction."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (image.width // divisor, image.height // divisor))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 30}])
@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_pixels_are_those_of_libjpeg(photos, encode_image, divisor, options):
    for photo in (photos[0], photos[1][:301, :403], photos[2][:, :, :1].squeeze()):
        data = encode_image(photo, **options)
        header = read_size(data)
        assert header.reducible
        assert (header.height, header.width) == photo.shape[:2]
        decoded = decode_reduced(data, divisor, header)
        assert np.array_equal(decoded, draft(data, divisor))
        if divisor == 1:
            assert np.array_equal(decoded, decode_rgb(data))


def mean_error(photo, data, divisor):
    """Mean difference of views from a reduced decode and from the whole image, over boxes that are not enlarged."""
    header = read_size(data)
    whole, reduced = decode_reduced(data, 1, header), decode_reduced(data, divisor, header)
    draws = draw_views(RECIPE, [(sample,) for sample in range(12)], np.tile(photo.shape[:2], (12, 1)))
    fit = (draws.width >= 96 * divisor) & (draws.height >= 96 * divisor)
    box = [getattr(draws, name)[fit] for name in ("left", "top", "width", "height")]
    made = [view(image, [side / scale for side in box]) for image, scale in ((whole, 1), (reduced, divisor))]
    return float((made[0] - made[1]).abs().mean())


def view(image, box):
    zero = np.zeros(len(box[0]))
    located = dict(zip(("left", "top", "width", "height"), box, strict=True))
    stride = np.full(len(zero), image.shape[1])
    boxes = Boxes(first=zero.astype(np.int64), stride=stride, **located, horizontal=zero, vertical=zero)
    return shrink(boxes.gather(torch.from_numpy(image).view(-1, 3)), boxes, 96, 96)


@pytest.mark.parametrize(("divisor", "most"), [(2, 1.2), (4, 2.2)])
def test_views_of_a_reduced_image_are_almost_those_of_the_whole_one(photos, encode_image, divisor, most):
    noise = np.random.default_rng(0).normal(0, 3, photos[0].shape)
    noisy = np.rint(photos[0] + noise).clip(0, 255).astype(np.uint8)
    errors = [mean_error(photo, encode_image(photo), divisor) for photo in (*photos, noisy)]
    assert max(errors) <= most
    # A shift by half a pixel of the reduced image would be seen.
    assert min(errors) > 0.05


def divisor_of(boxes, recipe):
    """Of one image with views of these sizes, width and height."""
    draws = draw_views(recipe, [(0,)], np.array([(1000, 1000)]))
    packed = draws.pack()
    names = list(draws.__dataclass_fields__)
    for number, (width, height) in enumerate(boxes):
        packed[0, number, [names.index("width"), names.index("height")]] = width, height
    return int(choose_divisors(recipe, type(draws).unpack(packed))[0])


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(96, 96)], 1),
        ([(191, 400)], 1),
        ([(192, 192)], 2),
        ([(400, 383)], 2),
        ([(384, 384)], 4),
        ([(768, 800)], 8),
        ([(5000, 5000)], 8),
        ([(768, 800), (384, 900)], 4),
        ([(768, 800), (50, 900)], 1),  # LightlyTrain enlarges it: it keeps all its pixels
    ],
)
def test_the_size_is_the_smallest_at_which_no_view_is_enlarged(boxes, expected):
    assert divisor_of(boxes, RECIPE * len(boxes)) == expected


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("JPEG", "CMYK"), ("PPM", "RGB")]
)
def test_what_is_no_plain_jpeg_is_decoded_whole(photos, kind, mode):
    buffer = io.BytesIO()
    Image.fromarray(photos[0][:50, :70]).convert(mode).save(buffer, kind)
    header = read_size(buffer.getvalue())
    assert not header.reducible
    assert (header.height, header.width) == (50, 70)
    assert np.array_equal(decode_reduced(buffer.getvalue(), 1, header), decode_image(buffer.getvalue()))


def test_rows_are_decoded_whole(photos):
    data = encode_rows(photos[0][:50, :70])
    header = read_size(data)
    assert (header.height, header.width, header.reducible) == (50, 70, False)
    assert np.array_equal(decode_reduced(data, 1, header), photos[0][:50, :70])


def test_exif_rotation_is_not_applied(photos):
    image, buffer = Image.fromarray(photos[0][:64, :96]), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(buffer, "JPEG", exif=exif)
    for divisor in (1, 2):
        decoded = decode_reduced(buffer.getvalue(), divisor, read_size(buffer.getvalue()))
        assert decoded.shape == (64 // divisor, 96 // divisor, 3)


@pytest.mark.parametrize("divisor", [1, 2, 8])
def test_a_truncated_jpeg_is_an_error_at_any_size(photos, encode_image, divisor):
    data = encode_image(photos[0])
    for count in (len(data) // 2, len(data) - 2, 700):
        with pytest.raises(DataError, match=f"found {count} bytes that fail to decode"):
            decode_reduced(data[:count], divisor, read_size(data))


def test_what_is_no_image_or_too_large_is_refused(photos, encode_image):
    with pytest.raises(DataError, match="expected a readable image"):
        read_size(b"\xff\xd8\xff" + bytes(100))
    data = bytearray(encode_image(photos[0][:16, :16]))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (65500).to_bytes(2) * 2  # height and width
    with pytest.raises(DataError, match="65500 x 65500 pixels"):
        read_size(bytes(data))


def test_what_only_pillow_reads_is_reduced_afterwards(photos, encode_image, monkeypatch):
    data, header = encode_image(photos[0][:65, :99]), read_size(encode_image(photos[0][:65, :99]))
    monkeypatch.setattr("training.views.reduced.cv2.imdecode", lambda data, flags: None)
    reduced = decode_reduced(data, 4, header)
    assert reduced.shape == (17, 25, 3)
    assert np.abs(reduced[:16, :24].astype(float) - draft(data, 4)[:16, :24]).mean() < 3
