"""Members of a tar that is read in sequence, as the index of its set has them."""

import io
import tarfile

import google_crc32c
import pytest

from sharding.errors import DataError
from sharding.limits import MAX_MEMBER_BYTES
from tests.sharding.tarballs import END, entry
from training.streaming.member_walk import walk_members

A, B = entry("a.jpg", b"first"), entry("b.jpg", b"second")
CRCS = {"a.jpg": google_crc32c.value(b"first"), "b.jpg": google_crc32c.value(b"second")}


def walk(plain, crcs=CRCS):
    return list(walk_members(io.BytesIO(plain), crcs, payloads=True))


def test_wanted_members_come_in_the_order_of_the_tar_and_others_do_not():
    other = entry("c.txt", b"other")
    assert walk(other + A + other + B + other + END) == [("a.jpg", b"first"), ("b.jpg", b"second")]
    assert walk(A + B + END, {"b.jpg": CRCS["b.jpg"]}) == [("b.jpg", b"second")]
    assert walk(A + B + END, {}) == []


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (A + END, "expected member b.jpg, as the index has it, found none"),
        (A + A + B + END, r"member a\.jpg occurs twice"),
        (A + entry("b.jpg", b"sECOND") + END, r"b\.jpg"),
        ((A + B)[:-700], "expected a whole tar, found a damaged or truncated one"),
        (A + entry("b.jpg", b"", kind=tarfile.SYMTYPE) + END, r"found none .*\(not read: 1 symbolic link\)"),
    ],
)
def test_what_is_not_as_the_index_has_it_is_an_error(plain, problem):
    with pytest.raises(DataError, match=problem):
        walk(plain)


def test_a_member_is_as_large_as_the_index_may_say(tmp_path):
    """Larger than a source file may be: a payload that inflates."""
    size, path = MAX_MEMBER_BYTES + 1000, tmp_path / "x.tar"
    info = tarfile.TarInfo("a.npy")
    info.size = size
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(512 + size + (-size) % 512 + 1024)
    crc = google_crc32c.Checksum()
    for _ in range(MAX_MEMBER_BYTES >> 20):
        crc.update(bytes(1 << 20))
    crc.update(bytes(1000))
    with path.open("rb") as file:
        ((name, data),) = walk_members(file, {"a.npy": int.from_bytes(crc.digest(), "big")}, payloads=True)
    assert (name, len(data)) == ("a.npy", size)
