import io
import os
import random
import subprocess
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.format.shard_walk import detect_compression, iter_members
from tests.sharding.tarballs import END, as_tarfile_reads, entry, payload

GOOD = entry("a/good.jpg", b"good")
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def walk(plain):
    return [
        (member.name, plain[member.offset : member.offset + member.num_bytes])
        for member in iter_members(io.BytesIO(plain))
    ]


def walk_or_fail(plain):
    """The members, and "" or the text of the error."""
    try:
        return walk(plain), ""
    except DataError as error:
        return [], str(error)


def pax(records, kind=tarfile.XHDTYPE):
    return entry("pax", records, kind=kind)


def record(key, value):
    body = b" %s=%s\n" % (key, value)
    length = next(n for n in range(len(body), len(body) + 9) if len(b"%d" % n) + len(body) == n)
    return b"%d" % length + body


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_all_formats_of_tar_are_read(tmp_path, form):
    names = ["a.jpg", "sub/b.json", "d" * 60 + "/" + "e" * 30] + ["f" * 90 + "/" + "g" * 95, "päge/ß.txt"] * (
        form != "v7"
    )
    for number, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(number * 400, number))
    command = ["tar", f"--format={form}", "-cf", tmp_path / "x.tar", "-C", tmp_path / "in", *names]
    subprocess.run(command, check=True, timeout=60)
    plain = (tmp_path / "x.tar").read_bytes()
    assert detect_compression(plain[:512]) == "none"
    assert walk(plain) == [(name, payload(number * 400, number)) for number, name in enumerate(names)]


def test_times_in_an_old_gnu_header_are_no_part_of_the_name():
    header = bytearray(entry("a.jpg", form=tarfile.GNU_FORMAT))
    header[345:356] = b"14655555555"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    assert walk(bytes(header) + END) == [("a.jpg", b"")]


def test_sizes_beyond_octal_digits_are_read_in_both_forms():
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with pytest.raises(DataError, match=r"huge.*expected 9000000000 bytes.*truncated"):
            walk(entry("huge", b"x", size=9_000_000_000, form=form))


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (pax(record(b"size", b"9" * 5000)) + GOOD + END, "claims a size of '9999"),
        (pax(record(b"size", "٣".encode())) + GOOD + END, "claims a size of"),
        (pax(record(b"size", b"-5")) + GOOD + END, "claims a size of '-5'"),
        (pax(record(b"size", b"")) + GOOD + END, "claims a size of ''"),
        (pax(b"99999999999999999999 path=x\n") + GOOD + END, "expected pax records"),
        (pax(b"9" * 5000 + b" path=x\n") + GOOD + END, "expected pax records"),
        (pax(b"-7 a=b\n") + GOOD + END, "expected pax records"),
        (pax(b"7 a=bcd") + GOOD + END, "expected pax records"),
        (pax(b"4 =\n") * 17 + GOOD + END, "byte 16384: more than 16 describe one member"),
        (pax(b"5 a=\n" * 501) * 2 + GOOD + END, "byte 3072: too many attributes; at most 1000"),
        (pax(bytes(600_000)) * 2 + GOOD + END, "claims a name or attributes of 1200000 bytes; at most 1048576"),
        (pax(record(b"path", b"x")) + END, "header at byte 0 describes a member that does not follow"),
        (pax(record(b"path", b"x")) + pax(record(b"path", b"y")) + GOOD + END, "a second name for 'x', 'y'"),
        (pax(record(b"path", b"x"), tarfile.XGLTYPE) + GOOD + END, "sets 'path' of all members"),
        (pax(record(b"GNU.sparse.major", b"1"), tarfile.XGLTYPE) + GOOD + END, "of all members"),
        (entry("folder", size=1024, kind=tarfile.DIRTYPE) + GOOD + END, "'folder' claims 1024 bytes"),
        (entry("odd", size=-3) + GOOD + END, "'odd' claims -3 bytes"),
        (GOOD + bytes(512), "expected two zero blocks at its end, found one at byte 1024"),
        (GOOD + bytes(512) + GOOD + END, "found other data before byte"),
        (bytes(512), "two zero blocks"),
        (b"", "it is truncated"),
    ],
)
def test_what_cannot_be_read_in_one_way_only_is_an_error_of_one_line(plain, problem):
    with pytest.raises(DataError, match=problem) as raised:
        walk(plain)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_attributes_are_parsed_in_linear_time():
    # Each attribute once was copied with all that follow it: 200,000 in a MiB took minutes.
    names = pax(record(b"comment", b" " * 1_000_000)) + GOOD
    many = (pax(b"10 k=vvvv\n" * 60 + record(b"comment", b" " * 30_000)) * 16 + GOOD) * 100
    begin = time.process_time()
    assert len(walk(names + many + END)) == 101
    assert time.process_time() - begin < 5


def test_global_attributes_that_change_nothing_are_passed():
    assert walk(pax(record(b"comment", b"a commit"), tarfile.XGLTYPE) + GOOD + END) == [("a/good.jpg", b"good")]


def test_a_long_name_is_shortened_and_takes_no_memory():
    (name, _), _ = walk(entry("x" * 1_000_000, b"data") + GOOD + END)
    assert len(name) == 4096


def test_a_member_of_gigabytes_is_read_past_in_pieces():
    class Zeros(io.RawIOBase):
        def __init__(self, head, zeros, tail):
            self.left = [io.BytesIO(head), zeros, io.BytesIO(tail)]
            self.most = 0

        def read(self, size=-1):
            self.most = max(self.most, size)
            data = self.left[0].read(size)
            if not data and self.left[1]:
                data = bytes(min(size, self.left[1]))
                self.left[1] -= len(data)
            return data or self.left[2].read(size)

    file = Zeros(entry("zeros", size=3 << 30), 3 << 30, GOOD + END)
    assert [(member.name, member.num_bytes) for member in iter_members(file)] == [("zeros", 3 << 30), ("a/good.jpg", 4)]
    assert file.most <= 1 << 20


@st.composite
def tars(draw):
    form = draw(st.sampled_from(FORMS))
    names = st.text("abcß/._-", min_size=1, max_size=8).filter(lambda name: not name.endswith("/") and name.strip("/"))
    long = st.sampled_from(["n" * 130, "d/" * 90 + "x", "é" * 120]) if form != tarfile.USTAR_FORMAT else names
    members = draw(st.lists(st.tuples(names | long, st.binary(max_size=700)), min_size=1, max_size=5))
    return b"".join(entry(name, data, form=form) for name, data in members) + END, form


@settings(max_examples=50, deadline=None)
@given(tars())
def test_a_sound_tar_is_read_as_tarfile_reads_it(made):
    assert walk(made[0]) == as_tarfile_reads(made[0])


@settings(max_examples=100, deadline=None)
@given(tars(), st.randoms(use_true_random=False), st.sampled_from(["bit", "byte", "cut", "remove", "double", "zero"]))
def test_a_damaged_tar_gives_all_members_or_an_error(made, generator, how):
    plain = made[0]
    whole = [name for name, _ in walk(plain)]
    damaged, at = bytearray(plain), generator.randrange(len(plain))
    block = slice(at // 512 * 512, at // 512 * 512 + 512)
    if how == "bit":
        damaged[at] ^= 1 << generator.randrange(8)
    elif how == "byte":
        damaged[at] = generator.randrange(256)
    elif how == "cut":
        del damaged[at:]
    elif how == "remove":
        del damaged[block]
    elif how == "double":
        damaged[block] = damaged[block] * 2
    else:
        damaged[block] = bytes(512)
    found, error = walk_or_fail(bytes(damaged))
    assert "\n" not in error
    if error:
        return
    # Without an error no member is missing. A tar has checksums of its headers alone: a block that is gone, or the last
    # header and what follows it being zeros, may be a member that never was.
    lost, more = len(whole) - len(found), len(found) - len(whole)
    assert lost <= (how in ("remove", "zero"))
    assert more <= (how == "double")


def test_random_blocks_are_errors_or_members_and_nothing_else():
    generator = random.Random(3)
    for _ in range(300):
        plain = b"".join(
            generator.choice(
                [
                    GOOD,
                    END,
                    os.urandom(512),
                    bytes(512),
                    pax(b"6 a=b\n"),
                    entry("s", kind=b"S"),
                    entry("l", b"n" * 9, kind=b"L"),
                ]
            )
            for _ in range(generator.randrange(1, 6))
        )
        assert "\n" not in walk_or_fail(plain)[1]
