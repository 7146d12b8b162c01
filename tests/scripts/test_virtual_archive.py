import gzip
import io
import random
import subprocess
import tarfile
import zlib

import numpy as np
import pytest
from making_bench.virtual_archive import ArchiveEntry, VirtualArchive, crc32_combine, deflate, stored

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.members import MemberReader


def make_bodies():
    """A picture's worth of noise, repeating text, floats, a single byte."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 400_001, np.uint8).tobytes()
    return [noise, b"the same again " * 20_000, np.sin(np.arange(50_000, dtype=np.float32)).tobytes(), b"x"]


def make_entries(count):
    entries = [ArchiveEntry(name="top/"), ArchiveEntry(name="top/empty"), ArchiveEntry(name="top/own", lead=b"alone")]
    for number in range(count):
        lead = f"{number:06d}".encode() * (number % 3)
        entries.append(ArchiveEntry(name=f"top/{number:05d}.bin", lead=lead, body=number % 4))
    return entries


BODIES, ENTRIES = make_bodies(), make_entries(24)


def content(entry):
    return entry.lead + (BODIES[entry.body] if entry.body is not None else b"")


@pytest.fixture(scope="module")
def archive():
    return VirtualArchive(ENTRIES, BODIES)


@pytest.fixture(scope="module")
def packed(archive):
    return b"".join(archive.read(0, archive.size))


@pytest.fixture
def path(packed, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed)
    return path


def test_crc32_combine_is_zlibs_crc_of_the_whole_on_random_splits():
    dice = random.Random(0)
    for _ in range(100):
        data = dice.randbytes(dice.randrange(5_000))
        cut = dice.randrange(len(data) + 1)
        first, second = data[:cut], data[cut:]
        assert crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(data)


def test_crc32_combine_passes_more_bytes_than_would_fit_in_memory():
    half = 1 << 33  # zeros; twice as many in one step and in two
    start, zeros = zlib.crc32(b"start"), 0
    for doubling in range(33):
        zeros = zlib.crc32(b"\0") if doubling == 0 else crc32_combine(zeros, zeros, 1 << doubling - 1)
    zeros = crc32_combine(zeros, zeros, half >> 1)
    twice = crc32_combine(crc32_combine(start, zeros, half), zeros, half)
    assert crc32_combine(start, crc32_combine(zeros, zeros, half), 2 * half) == twice


def test_segments_stand_anywhere_in_a_deflate_stream():
    data = stored(b"head") + deflate(b"abc" * 999) + stored(b"mid") + deflate(b"abc" * 999) + stored(b"", last=True)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    assert unpacker.decompress(data) == b"head" + b"abc" * 999 + b"mid" + b"abc" * 999
    assert unpacker.eof
    assert unpacker.unused_data == b""


def test_size_plain_bytes_and_checksum_are_those_of_the_stream(archive, packed):
    plain = gzip.decompress(packed)
    assert (archive.size, archive.num_plain_bytes, archive.crc32) == (len(packed), len(plain), zlib.crc32(plain))


def test_the_program_gzip_accepts_it_and_inflates_the_same(path, packed):
    subprocess.run(["gzip", "-t", path], check=True)
    assert subprocess.check_output(["gzip", "-dc", path]) == gzip.decompress(packed)


def test_tarfile_reads_every_member(packed):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
        found = [
            (one.name + "/" * one.isdir(), tar.extractfile(one).read() if one.isfile() else b"") for one in members
        ]
    assert found == [(entry.name, content(entry)) for entry in ENTRIES]


def test_the_program_tar_unpacks_it(path, tmp_path):
    subprocess.run(["tar", "xzf", path, "-C", tmp_path], check=True)
    for entry in ENTRIES[1:]:
        assert (tmp_path / entry.name).read_bytes() == content(entry)


def test_the_parallel_reader_reads_every_member(path, packed):
    assert len(packed) > 2 << 20  # several pieces of the parallel reader
    with open_archive(LocalFile(str(path))) as archive:
        found = {member.name: member.data for member in MemberReader(archive)}
    assert found == {entry.name: content(entry) for entry in ENTRIES if not entry.name.endswith("/")}


def test_any_range_is_that_part_of_the_whole(archive, packed):
    dice = random.Random(1)
    for _ in range(300):
        start, stop = sorted(dice.randrange(len(packed) + 1) for _ in range(2))
        assert b"".join(archive.read(start, stop)) == packed[start:stop]
    for start in range(40):
        assert b"".join(archive.read(start, start + 3)) == packed[start : start + 3]
    assert list(archive.read(5, 5)) == []


def test_contents_are_held_once_however_often_they_are_used():
    few, many = (VirtualArchive(make_entries(count), BODIES) for count in (4, 400))
    assert sum(len(piece) for piece in {id(one): one for one in many._pieces}.values()) < few.size + 400 * 2_000
    assert many.size > 40 * few.size
