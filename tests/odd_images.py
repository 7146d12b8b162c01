"""Images of the kinds that a set of photographs holds now and then, with depth, in tars that were made elsewhere."""

import io
import tarfile

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 56


def odd_images(draw):
    """Name of a file -> its bytes: every mode, one pixel, 40 megapixels."""
    photo = Image.fromarray(draw.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    blocks = draw.integers(0, 256, (100, 125, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter
    return {
        "grey.jpg": encode(photo.convert("L"), "JPEG"),
        "grey-alpha.png": encode(photo.convert("LA"), "PNG"),
        "rgba.png": encode(photo.convert("RGBA"), "PNG"),
        "cmyk.jpg": encode(photo.convert("CMYK"), "JPEG"),
        "palette.png": encode(photo.convert("P"), "PNG"),
        "one-bit.png": encode(photo.convert("1"), "PNG"),
        "turned.jpg": encode(photo, "JPEG", exif=turned),
        "pixel.png": encode(photo.crop((0, 0, 1, 1)), "PNG"),
        "pixel-too.jpg": encode(photo.crop((0, 0, 1, 1)), "JPEG"),
        "large.jpg": encode(Image.fromarray(blocks.repeat(56, 0).repeat(57, 1)), "JPEG"),
    }


def sixteen_bits(draw):
    """A file with 16 bits a pixel, and its levels, uint16 (H, W)."""
    levels = draw.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    return encode(Image.fromarray(levels), "PNG"), levels


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_tar(path, images):
    """A tar of `KEY.jpg` or `KEY.png` and `KEY.depth.npy`, 3 m everywhere."""
    with tarfile.open(path, "w") as tar:
        for name, data in images.items():
            with Image.open(io.BytesIO(data)) as image:
                depth = np.full((image.height, image.width), 3, np.float32)
            add(tar, name, data)
            with io.BytesIO() as file:
                np.save(file, depth)
                add(tar, f"{name.partition('.')[0]}.depth.npy", file.getvalue())


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
