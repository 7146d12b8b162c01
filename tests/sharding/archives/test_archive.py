import hashlib

import pytest

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.members import MemberReader
from sharding.errors import DataError
from tests.sharding.tarballs import as_tarfile_reads, read_members, tarball, write

SIZES = [380_000 + 10_000 * number for number in range(30)]
FORMS = ["x.tar", "x.tar.gz", "x.tar.zst"]


class Counting(LocalFile):
    """Counts what is read of a file, each byte as often as it is read."""

    def __init__(self, path):
        super().__init__(path)
        self.read_bytes, self.offsets = 0, []

    def read_at(self, offset, num_bytes):
        self.read_bytes += num_bytes
        self.offsets.append(offset)
        return super().read_at(offset, num_bytes)


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_give_the_members_that_a_tar_reader_gives(tmp_path, name):
    plain = tarball(SIZES)
    path = write(tmp_path / name, plain)
    assert [(member.name, member.data) for member in read_members(path)] == as_tarfile_reads(plain)


@pytest.mark.parametrize("name", FORMS)
def test_reading_goes_on_at_any_member_from_what_was_saved_there(tmp_path, name):
    path = write(tmp_path / name, tarball(SIZES))
    saved, whole = [], []
    with open_archive(LocalFile(path), threads=2, stride_bytes=2 << 20) as archive:
        for member in MemberReader(archive):
            whole.append(member)
            saved.append((member.end, archive.seek_point))
    assert any(point for _, point in saved) == name.endswith(".gz")
    for number in range(0, len(saved), 6):
        assert read_members(path, *saved[number]) == whole[number + 1 :]


@pytest.mark.slow
def test_a_resume_reads_again_at_most_the_stride_and_some_chunks(tmp_path):
    path = write(tmp_path / "x.tar.gz", tarball(SIZES))
    with open_archive(LocalFile(path), threads=2, stride_bytes=2 << 20) as archive:
        members = iter(MemberReader(archive))
        for _ in range(25):
            end = next(members).end
        state, position = archive.seek_point, archive.compressed_position
    source = Counting(path)
    with open_archive(source, end, state, threads=2) as archive:
        assert len(list(MemberReader(archive))) == 5
    assert source.read_bytes < 1.3 * (source.size - position) + (2 << 20) + (4 << 20)
    assert source.read_bytes < source.size / 1.5


@pytest.mark.parametrize("name", FORMS)
def test_the_md5_of_the_compressed_file_is_had_on_the_way(tmp_path, name):
    path = write(tmp_path / name, tarball(SIZES))
    with open_archive(LocalFile(path), digest=True) as archive:
        places = [archive.compressed_position for _ in MemberReader(archive)]
        assert archive.md5() == hashlib.md5(path.read_bytes()).hexdigest()
    assert places == sorted(places)
    assert 0.9 * path.stat().st_size <= places[-1] <= path.stat().st_size
    with open_archive(LocalFile(path)) as archive:
        assert archive.md5() == ""


@pytest.mark.parametrize("name", FORMS)
def test_the_md5_is_of_the_whole_file_wherever_reading_begins(tmp_path, name):
    path = write(tmp_path / name, tarball(SIZES))
    with open_archive(LocalFile(path)) as archive:
        member = list(MemberReader(archive))[3]
    with open_archive(LocalFile(path), member.end, digest=True) as archive:
        assert len(list(MemberReader(archive))) == len(SIZES) - 4
        assert archive.md5() == hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_an_md5_that_was_saved_goes_on_without_what_it_has_seen(tmp_path, name):
    path = write(tmp_path / name, tarball(SIZES))
    with open_archive(LocalFile(path), digest=True, stride_bytes=1 << 20) as archive:
        members = MemberReader(archive)
        member = next(one for at, one in enumerate(members) if at == len(SIZES) - 3)
        point, state, used = archive.seek_point, archive.md5_state(), archive.compressed_position
    source = Counting(path)
    with open_archive(source, member.end, point, digest=True, md5_state=state) as archive:
        assert len(list(MemberReader(archive))) == 2
        assert archive.md5() == hashlib.md5(path.read_bytes()).hexdigest()
    assert min(offset for offset in source.offsets if offset) > used // 2


@pytest.mark.parametrize("name", FORMS)
def test_an_offset_beyond_the_end_and_a_point_beyond_the_offset_are_errors(tmp_path, name):
    path = write(tmp_path / name, tarball(SIZES[:6]))
    with open_archive(LocalFile(path), stride_bytes=1 << 20) as archive:
        archive.skip(10**9)
        point = archive.seek_point
    with pytest.raises(DataError, match="expected"), open_archive(LocalFile(path), 10**9):
        pass
    if point:
        with pytest.raises(DataError, match="beyond offset 512"), open_archive(LocalFile(path), 512, point):
            pass


def test_damaged_zstd_data_are_an_error(tmp_path):
    path = write(tmp_path / "x.tar.zst", tarball(SIZES[:3]))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.tar\.zst"):
        read_members(path)


def test_a_tar_on_this_machine_is_not_read_where_it_is_skipped(tmp_path):
    path = write(tmp_path / "x.tar", tarball(SIZES))
    source = Counting(path)
    with open_archive(source) as archive:
        assert len(list(MemberReader(archive, wanted=lambda name, size: False))) == len(SIZES)
        assert archive.skip(1 << 40) == 0
    assert source.read_bytes < source.size / 5
