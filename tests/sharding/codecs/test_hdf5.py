"""HDF5 depth files: what is written is read, and damage is named."""

import zlib

import h5py
import numpy as np
import pytest

from sharding.codecs.hdf5 import _inflates_beyond, read_depth, write_depth
from sharding.errors import DataError


@pytest.fixture
def depth():
    return np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def test_depth_survives_by_path_and_by_bytes(tmp_path, depth):
    path = tmp_path / "a.h5"
    write_depth(path, depth)
    for source in (path, str(path), path.read_bytes()):
        found = read_depth(source)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, depth)


def test_same_depth_gives_same_bytes(tmp_path, depth):
    write_depth(tmp_path / "a.h5", depth)
    write_depth(tmp_path / "b.h5", depth)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_other_float_types_are_read_as_float32(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = depth.astype(np.float64)
    found = read_depth(tmp_path / "a.h5")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


def test_missing_dataset_is_named_with_what_is_there(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["disparity"] = depth
    with pytest.raises(DataError, match=r"a\.h5: expected a dataset '/depth', found \['disparity'\]"):
        read_depth(tmp_path / "a.h5")


def test_group_in_place_of_the_dataset_is_refused(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth/inner"] = depth
    with pytest.raises(DataError, match="expected a dataset"):
        read_depth(tmp_path / "a.h5")


def test_third_dimension_is_refused(tmp_path, depth):
    write_depth(tmp_path / "a.h5", depth[..., None])
    with pytest.raises(DataError, match=r"of shape \(H, W\), found float32 \(5, 7, 1\)"):
        read_depth((tmp_path / "a.h5").read_bytes())


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, -1])
def test_truncated_file_is_refused(tmp_path, depth, keep):
    write_depth(tmp_path / "a.h5", depth)
    whole = (tmp_path / "a.h5").read_bytes()
    part = whole[: int(len(whole) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_depth(part)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: cannot be read"):
        read_depth(tmp_path / "none.h5")


@pytest.mark.parametrize(
    "content",
    [
        np.array([[b"far", b"near"]]),
        np.array([["far", "near"]], h5py.string_dtype()),
        np.zeros((2, 3), [("depth", "<f4")]),
        np.zeros((2, 3), complex),
        h5py.Empty("f4"),
        np.float32(1),
    ],
    ids=["bytes", "text", "records", "complex", "nothing", "scalar"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_map_of_numbers_is_refused(tmp_path, content):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = content
    with pytest.raises(DataError, match=r"a\.h5: expected '/depth' of numbers, of shape \(H, W\), found"):
        read_depth(tmp_path / "a.h5")


@pytest.fixture
def elsewhere(tmp_path, depth):
    """Another file of the machine, as HDF5 and as bare numbers."""
    write_depth(tmp_path / "other.h5", depth)
    (tmp_path / "numbers.bin").write_bytes(depth.tobytes())
    return tmp_path


def link_externally(file, folder, depth):
    file["depth"] = h5py.ExternalLink(str(folder / "other.h5"), "/depth")


def link_through_a_link(file, folder, depth):
    file["folder"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
    file["depth"] = h5py.SoftLink("/folder/depth")


def store_externally(file, folder, depth):
    file.create_dataset("depth", depth.shape, np.float32, external=[(str(folder / "numbers.bin"), 0, depth.nbytes)])


def make_virtual(file, folder, depth):
    layout = h5py.VirtualLayout(depth.shape, np.float32)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "depth", depth.shape)
    file.create_virtual_dataset("depth", layout)


@pytest.mark.parametrize("point", [link_externally, link_through_a_link, store_externally, make_virtual])
def test_no_other_file_of_the_machine_is_read(elsewhere, depth, point):
    path = elsewhere / "a.h5"
    with h5py.File(path, "w") as file:
        point(file, elsewhere, depth)
    with h5py.File(path) as file:  # HDF5 itself follows
        np.testing.assert_array_equal(file["depth"][()], depth)
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError, match=r"stored in other files|expected a dataset '/depth', found"):
            read_depth(source)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (10**6, 10**6), "chunks": (1000, 1000), "compression": "gzip"},
        {"shape": (10**6, 10**6)},
        {"shape": (10, 10), "maxshape": (None, None), "chunks": (30_000, 30_000)},
    ],
    ids=["chunks", "contiguous", "one chunk"],
)
def test_a_size_that_nobody_has_is_refused_before_memory_is_taken(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", dtype=np.float32, **options)
    with pytest.raises(DataError, match=r"(1000000 x 1000000|30000 x 30000) pixels"):
        read_depth((tmp_path / "a.h5").read_bytes())


def test_a_chunk_that_inflates_to_more_than_it_should_is_refused(tmp_path):
    compressor = zlib.compressobj(1)
    bomb = b"".join([compressor.compress(bytes(1 << 20)) for _ in range(100)] + [compressor.flush()])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("depth", (10, 10), np.float32, chunks=(10, 10), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bomb)
    with pytest.raises(DataError, match="a chunk of 404 bytes inflates to more"):
        read_depth((tmp_path / "a.h5").read_bytes())


def test_a_filter_that_is_not_known_is_refused(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", data=depth, chunks=depth.shape, scaleoffset=3)
    with pytest.raises(DataError, match="filters"):
        read_depth((tmp_path / "a.h5").read_bytes())


def test_compression_of_what_is_compressed_is_refused(tmp_path, depth):
    twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    twice.set_chunk(depth.shape)
    twice.set_filter(h5py.h5z.FILTER_LZF)
    twice.set_deflate(4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(depth.shape)
        h5py.h5d.create(file.id, b"depth", h5py.h5t.NATIVE_FLOAT, space, twice)
    with pytest.raises(DataError, match="filters"):
        read_depth((tmp_path / "a.h5").read_bytes())


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"chunks": (128, 64)},
    ],
    ids=["gzip", "all filters", "lzf", "chunks alone"],
)
def test_compressed_depth_is_read(tmp_path, options):
    large = np.random.default_rng(0).random((512, 512), np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", data=large, **{"chunks": large.shape} | options)
    np.testing.assert_array_equal(read_depth((tmp_path / "a.h5").read_bytes()), large)


def test_a_list_of_chunks_that_takes_more_than_their_values_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", (300, 300), np.float32, chunks=(1, 1))
    with pytest.raises(DataError, match=r"90000 chunks of \(1, 1\); at most 65536 are read"):
        read_depth((tmp_path / "a.h5").read_bytes())


def test_lzf_that_may_expand_to_anything_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("depth", (10, 10), np.float32, chunks=(10, 10), compression="lzf")
        dataset.id.write_direct_chunk((0, 0), bytes(4_000_000))
    with pytest.raises(DataError, match="LZF chunks of 4000000 bytes, one of 4000000: compress it with gzip"):
        read_depth((tmp_path / "a.h5").read_bytes())


def test_many_small_bombs_are_refused_as_one_large_is(tmp_path):
    compressor = zlib.compressobj(9)
    bomb = compressor.compress(bytes(200 << 20)) + compressor.flush()
    assert len(bomb) * 1032 < 1 << 28  # each alone would not be inflated to check it
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("depth", (60, 10), np.float32, chunks=(10, 10), compression="gzip")
        for row in range(0, 60, 10):
            dataset.id.write_direct_chunk((row, 0), bomb)
    with pytest.raises(DataError, match="a chunk of 404 bytes inflates to more"):
        read_depth((tmp_path / "a.h5").read_bytes())


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_what_inflates_is_measured_exactly(extra):
    data = zlib.compress(np.random.default_rng(0).bytes(300_000) + bytes(5_000_000))
    assert _inflates_beyond(data, 5_300_000 + extra) == (extra < 0)


def test_a_chunk_that_is_shorter_than_its_checksum_does_not_end_the_process(tmp_path, depth):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("depth", data=depth, chunks=depth.shape, fletcher32=True)
        dataset.id.write_direct_chunk((0, 0), b"ab")
    with pytest.raises(DataError, match="a chunk with less than its checksum"):
        read_depth((tmp_path / "a.h5").read_bytes())
