import os
import random
import subprocess
import tarfile

import pytest

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.members import MemberReader
from sharding.errors import DataError
from tests.sharding.tarballs import END, as_tarfile_reads, entry, payload, read_members, tarball, write

GOOD = entry("a/good.jpg", b"good")


def read(tmp_path, plain, suffix=".tar", **options):
    with open_archive(LocalFile(write(tmp_path / f"x{suffix}", plain)), threads=1) as archive:
        reader = MemberReader(archive, **options)
        return [(member.name, member.data) for member in reader], dict(reader.skipped)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_all_lengths_and_alphabets_are_read_as_tar_reads_them(tmp_path, form):
    names = ["x", "d/" * 40 + "y.jpg", "./dotted/z"]
    if form != tarfile.USTAR_FORMAT:
        names += ["d" * 99 + "/" + "e" * 200, "päge/ß.jpg", "f" * 100, "long/" * 100 + "g"]
    plain = b"".join(entry(name, payload(100 + i, i), form=form) for i, name in enumerate(names)) + END
    members, skipped = read(tmp_path, plain)
    assert members == [(name.removeprefix("./"), data) for name, data in as_tarfile_reads(plain)]
    assert not skipped


def test_offsets_are_those_of_the_tar_and_name_the_headers_before_a_long_name(tmp_path):
    plain = entry("n" * 300, b"1") + GOOD + END
    first, second = read_members(write(tmp_path / "x.tar", plain))
    assert (first.offset, first.end, second.offset, second.end) == (0, len(plain) - 2048, first.end, len(plain) - 1024)
    assert read_members(tmp_path / "x.tar", second.offset) == [second]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("/etc/passwd", b"x"), "name that leads out of the archive"),
        (entry("../../x", b"x"), "name that leads out of the archive"),
        (entry("a/../../x", b"x"), "name that leads out of the archive"),
        (entry("x" * 200 + "/../y", b"x"), "name that leads out of the archive"),
        (entry("link", kind=tarfile.SYMTYPE), "symbolic link"),
        (entry("link", kind=tarfile.LNKTYPE, size=100), "hard link"),
        (entry("null", kind=tarfile.CHRTYPE), "device"),
        (entry("pipe", kind=tarfile.FIFOTYPE), "named pipe"),
        (entry("odd", b"x", kind=b"Z"), "entry of type b'Z'"),
        (entry("a\nb", b"x"), "name that is no readable text"),
        (entry(b"\xff\xfe".decode("utf-8", "surrogateescape"), b"x"), "name that is no readable text"),
    ],
)
def test_what_is_no_plain_file_is_skipped_and_counted_and_nothing_is_written(tmp_path, bad, reason):
    before = sorted(os.listdir(tmp_path.parent))
    assert read(tmp_path, bad + GOOD + END) == ([("a/good.jpg", b"good")], {reason: 1})
    assert os.listdir(tmp_path) == ["x.tar"]
    assert sorted(os.listdir(tmp_path.parent)) == before


def test_folders_are_passed_without_a_word(tmp_path):
    assert read(tmp_path, entry("a/", kind=tarfile.DIRTYPE) + GOOD + END) == ([("a/good.jpg", b"good")], {})


def test_a_file_that_is_not_wanted_is_read_past(tmp_path):
    path = write(tmp_path / "x.tar.gz", tarball([5_000_000, 100]))
    with open_archive(LocalFile(path)) as archive:
        members = list(MemberReader(archive, lambda name, num_bytes: num_bytes < 1000))
    assert [(member.num_bytes, member.data is None) for member in members] == [(5_000_000, True), (100, False)]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
@pytest.mark.parametrize("size", [300 << 20, 100 * 10**9, 1 << 62])
def test_a_header_that_claims_much_takes_no_memory_and_is_found_out(tmp_path, suffix, size):
    with pytest.raises(DataError, match=rf"huge.*expected {size} bytes.*truncated, or the header is wrong"):
        read(tmp_path, entry("huge", payload(10_000, 0), size=size) + END, suffix)


def test_a_file_too_large_to_be_ours_is_skipped(tmp_path):
    plain = entry("large", payload((1 << 20) + 1, 0)) + GOOD + END
    assert read(tmp_path, plain, most_bytes=1 << 20) == ([("a/good.jpg", b"good")], {"file of more than 1 MiB": 1})


def pax(records):
    return entry("pax", records, kind=tarfile.XHDTYPE)


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (entry("long", size=1 << 40, kind=tarfile.GNUTYPE_LONGNAME), "claims a name or attributes"),
        (entry("long", size=1 << 40, kind=tarfile.XHDTYPE), "claims a name or attributes"),
        (pax(b"99 path=x\n") + GOOD, "pax records"),
        (pax(b"nonsense") + GOOD, "pax records"),
        (pax(b"0 path=x\n") + GOOD, "pax records"),
        (pax(b"12 size=-1\n") + GOOD, "size|pax"),
        (pax(b"11 size=-1\n") + GOOD, "claims a size"),
        (b"hello" * 200, "expected a tar archive"),
        (b"", "truncated"),
        (GOOD, "truncated"),
        (GOOD[:700], "truncated"),
        (GOOD + bytes(100), "truncated"),
        (GOOD + bytes(1023), "expected two zero blocks at its end, found one at byte 1024: it is truncated"),
        (GOOD + b"junk" * 256, "expected a tar header at byte 1024"),
        (GOOD + END + GOOD + END, "concatenated archives"),
        (GOOD + END + b"junk", "concatenated archives"),
    ],
)
def test_a_false_or_cut_archive_is_an_error_that_says_where(tmp_path, plain, problem):
    with pytest.raises(DataError, match=problem) as raised:
        read(tmp_path, plain)
    assert str(tmp_path / "x.tar") in str(raised.value)


@pytest.mark.parametrize("holes", [1, 3, 60])
def test_a_sparse_file_as_tar_writes_it_is_skipped(tmp_path, holes):
    with open(tmp_path / "sparse", "wb") as file:
        for hole in range(holes):
            file.seek((hole + 1) << 20)
            file.write(b"data")
    (tmp_path / "good.jpg").write_bytes(b"good")
    archive = tmp_path / "sparse.tar"
    command = ["tar", "--format=gnu", "-S", "-cf", archive, "-C", tmp_path, "sparse", "good.jpg"]
    subprocess.run(command, check=True, timeout=60)
    with open_archive(LocalFile(archive)) as opened:
        reader = MemberReader(opened)
        assert [(member.name, member.data) for member in reader] == [("good.jpg", b"good")]
        assert dict(reader.skipped) == {"sparse file": 1}


def test_a_sparse_file_of_the_pax_form_is_skipped(tmp_path):
    plain = pax(b"22 GNU.sparse.major=1\n") + entry("sparse", b"1\n0\n") + GOOD + END
    assert read(tmp_path, plain) == ([("a/good.jpg", b"good")], {"sparse file": 1})


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_an_archive_cut_anywhere_gives_whole_members_and_then_an_error(tmp_path, suffix):
    path = write(tmp_path / f"whole{suffix}", tarball([40_000] * 20))
    whole, data = read_members(path), path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for size in [len(data) - 1, *random.Random(0).sample(range(20, len(data) - 1), 15)]:
        cut.write_bytes(data[:size])
        members = []
        with pytest.raises(DataError, match=r"cut"), open_archive(LocalFile(cut), threads=2) as archive:
            members.extend(MemberReader(archive))
        assert members == whole[: len(members)]


def test_random_damage_is_an_error_or_harmless_and_never_a_crash(tmp_path):
    plain, generator = bytearray(tarball([3000] * 5)), random.Random(1)
    for _ in range(300):
        damaged = bytearray(plain)
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            read(tmp_path, bytes(damaged))
        except DataError:
            continue
