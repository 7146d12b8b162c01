"""Source files that were made to hurt: refused one by one, without much memory, by a process that goes on."""

import json
import struct
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from sharding.codecs.npy import encode_npy
from tests.sharding.shard_runs import environment

CODE = """
import json, resource, sys
from pathlib import Path
from sharding.sources.pairing import Candidate
from sharding.making.encode import Recipe, encode
from sharding.errors import DataError
from sharding.sources.folder import FolderSource
from sharding.sources.source import SourceFile

source, reasons = FolderSource(sys.argv[1]), {}
def attempt(image, depth):
    files = {"image": SourceFile(f"evil/{image}", 0), "depth": SourceFile(f"evil/{depth}", 0)}
    try:
        encode(source, Candidate(key="k", files=files), Recipe(dataset="megadepth"))
        return ""
    except DataError as error:
        return str(error)

assert attempt("good.png", "good.npy") == ""
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.stem != "good":
        image = path.suffix in (".png", ".jpg")
        reasons[path.name] = attempt(path.name, "good.npy") if image else attempt("good.png", path.name)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"reasons": reasons, "grown_mib": grown / 1024}))
"""
BOMB_BYTES = 400 * 2**20
"""What each bomb would take."""


def deflate_bomb():
    compressor = zlib.compressobj(1)
    pieces = [compressor.compress(bytes(2**20)) for _ in range(BOMB_BYTES // 2**20)]
    return b"".join([*pieces, compressor.flush()])


def png(width, height, pixels):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def evil(tmp_path):
    folder = tmp_path / "evil"
    folder.mkdir()
    bomb = deflate_bomb()
    Image.new("RGB", (8, 6)).save(folder / "good.png")
    (folder / "good.npy").write_bytes(encode_npy(np.ones((6, 8), np.float32)))
    (folder / "wide.png").write_bytes(png(40_000, 25_000, bomb))
    (folder / "text.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    Image.new("RGB", (8, 6)).save(folder / "wide.jpg")
    jpeg = (folder / "wide.jpg").read_bytes()
    at = jpeg.index(b"\xff\xc0") + 5
    (folder / "wide.jpg").write_bytes(jpeg[:at] + struct.pack(">HH", 25_000, 40_000) + jpeg[at + 4 :])
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    (folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with h5py.File(folder / "huge.h5", "w") as file:
        file.create_dataset("depth", (10**6, 10**6), np.float32, chunks=(1000, 1000), compression="gzip")
    with h5py.File(folder / "chunk.h5", "w") as file:
        dataset = file.create_dataset("depth", (6, 8), np.float32, chunks=(6, 8), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bomb)
    (folder / "numbers.bin.npy").write_bytes(b"secret" * 100)
    with h5py.File(folder / "outside.h5", "w") as file:
        file.create_dataset("depth", (6, 8), np.float32, external=[(str(folder / "numbers.bin.npy"), 0, 192)])
    with h5py.File(folder / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((6, 8), np.float32)
        layout[:] = h5py.VirtualSource(str(folder / "huge.h5"), "depth", (6, 8))
        file.create_virtual_dataset("depth", layout)
    return folder


def test_hostile_files_are_refused_without_memory_and_without_a_crash(evil):
    done = subprocess.run(
        [sys.executable, "-c", CODE, evil], capture_output=True, text=True, timeout=100, env=environment()
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = {
        "wide.png": "pixels",
        "text.png": "fail to decode",
        "wide.jpg": "pixels",
        "huge.npy": "takes 4000000000000 bytes",
        "numbers.bin.npy": "something else",
        "huge.h5": "1000000 x 1000000 pixels",
        "chunk.h5": "inflates to more",
        "outside.h5": "stored in other files",
        "virtual.h5": "stored in other files",
    }
    assert found["reasons"].keys() == expected.keys()
    for name, part in expected.items():
        assert part in found["reasons"][name]
    assert found["grown_mib"] < BOMB_BYTES / 2**20 / 4


LARGEST = """
import resource, sys
from sharding.making.encode import Recipe
from sharding.format.shard import Packer
from sharding.making.packing import pack
from sharding.sources.folder import FolderSource
from sharding.sources.pairing import Candidate
from sharding.sources.source import SourceFile

source, dataset = FolderSource(sys.argv[1]), sys.argv[2]
def peak(*names):
    files = {role: SourceFile(f"sound/{name}", 0) for role, name in zip(("image", "depth", "mask"), names)}
    pack(source, Candidate(key="k", files=files), Recipe(dataset=dataset, preset=sys.argv[3]), Packer("zstd"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small = peak(*(f"small.{name}" for name in sys.argv[4:]))
print((peak(*(f"large.{name}" for name in sys.argv[4:])) - small) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["exact", "compact"])
@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("diode", ("png", "depth.npy", "mask.npy")),
        ("diode", ("png", "half.npy", "mask.npy")),
        ("megadepth", ("png", "h5")),
    ],
    ids=["float32", "float16", "hdf5 of float64 in one chunk"],
)
def test_the_largest_sample_takes_less_than_2_gib_more_than_a_small_one(tmp_path, dataset, names, preset):
    folder = tmp_path / "sound"
    folder.mkdir()
    for size, side in [("small", 64), ("large", 8191)]:  # 8192 x 8192 of float32 and a header is beyond a member
        slope = np.arange(side, dtype=np.float32) / 100 + 1
        depth = slope[:, None] + slope
        pixels = np.broadcast_to(np.arange(side).astype(np.uint8)[:, None, None], (side, side, 3))
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{size}.png", compress_level=1)
        np.save(folder / f"{size}.depth.npy", depth)
        np.save(folder / f"{size}.half.npy", depth.astype(np.float16))
        np.save(folder / f"{size}.mask.npy", np.ones((side, side), np.float32))
        with h5py.File(folder / f"{size}.h5", "w") as file:
            options = {"chunks": (side, side), "compression": "gzip", "compression_opts": 1}
            file.create_dataset("depth", data=depth.astype(np.float64), **options)
    arguments = [sys.executable, "-c", LARGEST, folder, dataset, preset, *names]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2048
