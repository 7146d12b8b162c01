"""Folders of a data set, and the pictures, arrays and HDF5 files in them, for `shard`."""

import io
import os
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from tests.hostile.case import Case, Look, anything
from tests.hostile.worlds import SAMPLES, World, jpeg, npy, shard_words

Make = Callable[[Path], Any]


def view(make: Make, ending: str = ".png", allow: bool = False) -> Any:
    """Build a DIODE tree, a file of whose first view is made anew."""

    def build(folder: Path, world: World) -> list[str]:
        image = world.copy_diode(folder)
        path = image.with_name(image.name.replace(".png", ending))
        path.unlink()
        make(path)
        return [*shard_words("diode"), *(["--allow-bad", "1"] if allow else [])]

    return build


def tree(change: Callable[[Path], Any]) -> Any:
    """Build a DIODE tree, and change something in the folder of its views."""

    def build(folder: Path, world: World) -> list[str]:
        change(world.copy_diode(folder).parent)
        return shard_words("diode")

    return build


def photo(make: Make) -> Any:
    """Build a MegaDepth tree whose first image is made anew."""

    def build(folder: Path, world: World) -> list[str]:
        path = world.copy_megadepth(folder)
        path.unlink()
        make(path)
        return shard_words("megadepth")

    return build


def h5(make: Callable[[h5py.File], Any]) -> Any:
    """Build a MegaDepth tree whose first depth is made anew."""

    def build(folder: Path, world: World) -> list[str]:
        image = world.copy_megadepth(folder)
        path = image.parents[1] / "depths" / f"{image.stem}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        return shard_words("megadepth")

    return build


def modules(folder: Path, world: World) -> list[str]:
    """Build a DIODE tree with modules of Python beside it, which a worker process must not import."""
    world.copy_diode(folder)
    for name in ("json", "pickle", "types", "encodings", "sitecustomize", "sharding", "training", "numpy"):
        folder.joinpath(f"{name}.py").write_text(f"open({str(world.canary)!r}, 'w')\nraise SystemExit('executed')\n")
    return [*shard_words("diode")[:-1], "2", "--shard-size", "1"]


def writes(data: bytes) -> Make:
    """Write these bytes."""
    return lambda path: path.write_bytes(data)


def picture(mode: str, form: str, side: int = 16, **options: Any) -> Make:
    """Write a picture of a mode, in a format, whatever the name of the file says."""

    def make(path: Path) -> None:
        Image.new(mode, (side, 12)).save(path, form, **options)

    return make


def _odd(path: Path) -> dict[str, Any]:
    """What a file may be instead, by name."""
    listening = socket.socket(socket.AF_UNIX)

    def bind() -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # the path may be longer than a socket's
        listening.bind(path.name)
        os.chdir(here)

    return {
        "a pipe": lambda: os.mkfifo(path), "a socket": bind, "a folder": path.mkdir,
        "a link to /dev/zero": lambda: path.symlink_to("/dev/zero"), "a link to itself": lambda: path.symlink_to(path.name),
        "a dangling link": lambda: path.symlink_to("nowhere"), "a link to a pipe": lambda: (os.mkfifo(f"{path}.f"), path.symlink_to(f"{path}.f")),
        "a link to /dev/tty": lambda: path.symlink_to("/dev/tty"), "a link to memory": lambda: path.symlink_to("/proc/self/mem"),
        "20 GB of nothing": lambda: os.truncate(_new(path), 20 << 30), "300 MB": lambda: os.truncate(_new(path), 300 << 20),
        "empty": path.touch,
    }  # fmt: skip


def _new(path: Path) -> Path:
    path.touch()
    return path


ODD = tuple(_odd(Path("x")))


def odd(name: str) -> Make:
    """Make something else than a regular file."""
    return lambda path: _odd(path)[name]()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, rows: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with a header of one's choice."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def _blank(side: int) -> bytes:
    return png(side, side, bytes((1 + side) * side), colour=0)


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with a header of one's choice."""
    body = text.encode("latin1") + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(body)) + body + data


def shape(text: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """An .npy file whose header claims a shape, with data of 12 x 16 float32."""
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {text}, }}", bytes(12 * 16 * 4))


def _array(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def all_samples(count: int = SAMPLES) -> Look:
    """Look whether the set has so many samples."""

    def look(folder: Path, said: str) -> None:
        assert f"{count} samples" in said, said

    return look


def linked(scan: Path) -> None:
    """Move the folder of the views elsewhere, and link to it."""
    scan.rename(scan.parents[3] / "elsewhere")
    scan.symlink_to("../../../../elsewhere")


PICTURES: dict[str, bytes] = {
    "no picture": b"text", "zeros": bytes(5000), "a JPEG": jpeg(), "a cut PNG": _blank(64)[:-30], "a PNG of 60,000 x 60,000": png(60_000, 60_000, b""),
    "a PNG of 13,300 x 13,300": _blank(13_300), "a PNG without pixels": png(16, 12, b""), "a PNG of 0 x 0": png(0, 0, b""),
    "a PNG of 2**31 x 1": png(2**31 - 1, 1, b""), "text of 1 GB": png(16, 12, bytes(49 * 12), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 30), 1))),
    "a profile of 1 GB": png(16, 12, bytes(49 * 12), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 30), 1))),
    "rows of 2 GB": png(16, 12, bytes(1 << 30)), "16 bits": png(16, 12, bytes((1 + 96) * 12), depth=16), "a wrong checksum": _blank(16)[:-20] + bytes(20),
    "a bad depth": png(16, 12, bytes(49 * 12), depth=3), "a GIF bomb": b"GIF89a" + b"\xff\xff\xff\xff" + bytes(100), "a BMP": b"BM" + bytes(100),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n", "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a TIFF that claims 2**31": b"II*\0\x08\0\0\0\x02\0\0\x01\x04\0\x01\0\0\0\xff\xff\xff\x7f\x01\x01\x04\0\x01\0\0\0\xff\xff\xff\x7f\0\0\0\0",
    "a PSD": b"8BPS\0\x01" + bytes(6) + b"\0\x03" + b"\0\0\xff\xff" * 2 + b"\0\x08\0\x03", "an ICO": b"\0\0\x01\0\x01\0" + bytes(16),
}  # fmt: skip
ARRAYS: dict[str, bytes] = {
    "text": b"1 2 3", "empty": b"", "a magic alone": b"\x93NUMPY", "objects": _array(np.array([{"a": 1}], object), allow_pickle=True),
    "a shape of 2**40": shape("(1099511627776, 1)"), "a shape of 2**62 x 4": shape("(4611686018427387904, 4, 1)"), "a negative shape": shape("(-12, 16, 1)"),
    "a shape of True": shape("(True, 192, 1)"), "no shape": shape("()"), "a shape of text": shape("'a'"), "a shape of fractions": shape("(12.0, 16, 1)"),
    "code": header("__import__('os').system('touch canary')"), "a call": header("open('canary', 'w')"), "9**9**9": header("9**9**9"),
    "a header of 4 GB": b"\x93NUMPY\x02\0" + b"\xff\xff\xff\xff" + bytes(100), "a header of brackets": header("[" * 60_000), "a type of text": shape("(12, 16, 1)", "'<U4'"),
    "a type of time": shape("(12, 16, 1)", "'<M8[s]'"), "a record": shape("(12, 16, 1)", "[('a', '<f4')]"), "no type": shape("(12, 16, 1)", "'x'"),
    "a type of 2 GB": shape("(12, 16, 1)", "'|V2000000000'"), "integers": npy(np.ones((12, 16, 1), "<i4")), "complex": npy(np.ones((12, 16, 1), "<c8")),
    "another size": npy(np.ones((5, 5, 1), "<f4")), "four sides": npy(np.ones((1, 12, 16, 1), "<f4")), "cut": npy(np.ones((12, 16, 1), "<f4"))[:-5],
    "11,000 x 11,000": npy(np.zeros((11_000, 11_000, 1), "<f2")), "not finite": npy(np.full((12, 16, 1), np.nan, "<f4")), "negative": npy(np.full((12, 16, 1), -1, "<f4")),
    "a version of 9": b"\x93NUMPY\x09\0" + bytes(100), "kilometres": npy(np.full((12, 16, 1), 5e4, "<f4")), "a zip": b"PK\x03\x04" + bytes(100),
}  # fmt: skip
MASKS = {
    "of 0.5": np.full((12, 16), 0.5),
    "of text": np.full((12, 16), "a"),
    "of another size": np.ones((3, 3)),
    "of nan": np.full((12, 16), np.nan),
}
MAY = (
    "a JPEG",
    "16 bits",
    "not finite",
    "negative",
    "text of 1 GB",
    "a profile of 1 GB",
    "rows of 2 GB",
    "a wrong checksum",
)
H5: dict[str, Callable[[h5py.File], Any]] = {
    "nothing": lambda file: None, "a group": lambda file: file.create_group("depth"), "text": lambda file: file.create_dataset("depth", data="deep"),
    "integers": lambda file: file.create_dataset("depth", data=np.ones((12, 16), "i8")), "one side": lambda file: file.create_dataset("depth", data=np.ones(5)),
    "2**40 pixels": lambda file: file.create_dataset("depth", (2**20, 2**20), "f4", chunks=(64, 64)), "60,000 x 60,000 in one chunk": lambda file: file.create_dataset("depth", (60_000, 60_000), "f4"),
    "a link to another file": lambda file: file.__setitem__("depth", h5py.ExternalLink("/etc/passwd", "x")), "a link to itself": lambda file: file.__setitem__("depth", h5py.SoftLink("/depth")),
    "other files' bytes": lambda file: file.create_dataset("depth", (12, 16), "u1", external=[("/etc/passwd", 0, 192)]), "objects": lambda file: file.create_dataset("depth", (12, 16), h5py.ref_dtype),
    "a filter that is not there": lambda file: file.create_dataset("depth", (12, 16), "f4", chunks=(12, 16), compression=32000, allow_unknown_filter=True),
    "a record": lambda file: file.create_dataset("depth", (12, 16), [("a", "f4")]), "strings": lambda file: file.create_dataset("depth", (12, 16), h5py.string_dtype()),
}  # fmt: skip

CASES = [
    *(Case(f"folders/{ending[1:]} is {name}", view(odd(name), ending)) for name in ODD for ending in (".png", "_depth.npy")),
    *(Case(f"folders/a photograph is {name}", photo(odd(name))) for name in ODD),
    *(Case(f"folders/{name}, one may be bad", view(odd(name), allow=True), all_samples(SAMPLES - 1)) for name in ("a pipe", "a socket", "20 GB of nothing", "a link to itself")),
    Case("folders/a linked folder", tree(linked), all_samples()),
    Case("folders/a link to its own folder", tree(lambda scan: (scan / "again").symlink_to(scan)), anything),
    Case("folders/a link to the root", tree(lambda scan: (scan / "root").symlink_to(scan.parents[4])), anything),
    Case("folders/a link to /", tree(lambda scan: (scan / "all").symlink_to("/proc/self")), anything),
    Case("folders/a name of controls", tree(lambda scan: (scan / "\x1b[2J.png").write_bytes(jpeg())), anything),
    Case("folders/half a character", tree(lambda scan: (scan / "a\udcff.png").write_bytes(jpeg())), anything),
    Case("folders/100 folders deep", tree(lambda scan: _deep(scan, 100)), anything),
    Case("folders/a name of code", tree(lambda scan: (scan / "$(touch canary).png").write_bytes(jpeg())), anything),
    Case("folders/modules beside it", modules, all_samples()),
    Case("folders/the same view twice", tree(lambda scan: shutil.copytree(scan, scan.parents[1] / "scene_00023" / scan.name)), anything),
    *(Case(f"images/{name}", view(writes(data)), anything if name in MAY else None) for name, data in PICTURES.items()),
    *(Case(f"images/a photograph of {name}", photo(writes(data)), anything if name in (*MAY, "a PNG of 13,300 x 13,300") and "13" not in name else None) for name, data in PICTURES.items()),
    *(Case(f"images/mode {mode}", view(picture(mode, form)), anything) for mode, form in (("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("F", "TIFF"), ("I", "TIFF"))),
    *(Case(f"arrays/depth: {name}", view(writes(data), "_depth.npy"), anything if name in MAY else None) for name, data in ARRAYS.items()),
    *(Case(f"arrays/mask: {name}", view(writes(data), "_depth_mask.npy"), anything) for name, data in ARRAYS.items()),
    *(Case(f"arrays/mask {name}", view(writes(npy(array)), "_depth_mask.npy"), anything) for name, array in MASKS.items()),
    *(Case(f"HDF5/{name}", h5(make), anything if name in ("integers", "a filter that is not there") else None) for name, make in H5.items()),
]  # fmt: skip


def _deep(folder: Path, depth: int) -> None:
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("a" * 30)
        os.chdir("a" * 30)
    os.chdir(here)
