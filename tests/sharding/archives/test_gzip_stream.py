import gzip
import random
import re
import subprocess
import sys
import zlib

import pytest

from sharding.archives.byte_source import LocalFile
from sharding.archives.gzip_stream import GzipStream
from sharding.errors import DataError
from tests.sharding.tarballs import payload, write

PLAIN = payload(6_000_000, 0) + bytes(2_000_000) + payload(5_000_000, 1)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Several chunks, and so several places to go on at, in a small file."""
    monkeypatch.setattr("sharding.archives.gzip_stream.CHUNK_BYTES", 1 << 20)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gzip") / "x.gz", PLAIN)


def drain(stream):
    try:
        return b"".join(iter(lambda: stream.read(777_777), b""))
    finally:
        stream.close()


def points_of(path, stride):
    points, stream = [], GzipStream(LocalFile(path), threads=2, stride_bytes=stride)
    while stream.read(300_000):
        points += [stream.point] if stream.point not in (None, *points[-1:]) else []
    stream.close()
    return points


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bytes(path, threads):
    assert drain(GzipStream(LocalFile(path), threads=threads)) == PLAIN


def test_every_seek_point_leads_to_the_rest_and_the_checksum_still_holds(path):
    points = points_of(path, stride=1)
    assert len(points) >= 6
    for point in points:
        stream = GzipStream(LocalFile(path), point, threads=2)
        assert stream.position == point.offset
        assert drain(stream) == PLAIN[point.offset :]


def test_points_taken_after_a_resume_are_those_of_an_uninterrupted_run(path):
    points = points_of(path, stride=1)
    stream = GzipStream(LocalFile(path), points[1], threads=2, stride_bytes=1)
    later = set()
    while stream.read(300_000):
        later.add(stream.point)
    stream.close()
    assert later - {points[1]}
    for point in later:
        assert drain(GzipStream(LocalFile(path), point)) == PLAIN[point.offset :]


def test_a_reader_that_is_renewed_gives_the_same_bytes_and_sound_points(path, monkeypatch):
    monkeypatch.setattr("sharding.archives.gzip_stream.RENEWAL_BYTES", 2 << 20)
    opened, renew = [], GzipStream._renew

    def counted(self, point, position):
        opened.append(point)
        renew(self, point, position)

    monkeypatch.setattr(GzipStream, "_renew", counted)
    assert drain(GzipStream(LocalFile(path), threads=2, stride_bytes=1 << 20)) == PLAIN
    assert len(opened) >= 3
    for point in points_of(path, stride=1 << 20):
        assert drain(GzipStream(LocalFile(path), point)) == PLAIN[point.offset :]


def test_a_false_byte_before_the_end_is_found_after_a_resume_too(path, tmp_path):
    point = points_of(path, stride=1)[2]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(data)
    for start in (None, point):
        with pytest.raises(DataError, match=r"damaged\.gz: expected one valid gzip file"):
            drain(GzipStream(LocalFile(damaged), start, threads=2))


def test_a_file_cut_anywhere_is_an_error_and_never_an_end(path, tmp_path):
    data, cut = path.read_bytes(), tmp_path / "cut.gz"
    for size in [5, 12, 1000, len(data) - 1, len(data) - 8, *random.Random(0).sample(range(20, len(data)), 8)]:
        cut.write_bytes(data[:size])
        with pytest.raises(DataError, match="cut"):
            drain(GzipStream(LocalFile(cut), threads=2))


@pytest.mark.parametrize("junk", [b"junk" * 300, bytes(500) + b"x", b"\x1f\x8b\x08"], ids=["junk", "zeros", "magic"])
def test_bytes_after_the_stream_are_an_error(path, tmp_path, junk):
    longer = tmp_path / "longer.gz"
    longer.write_bytes(path.read_bytes() + junk)
    with pytest.raises(DataError, match="followed by other bytes"):
        drain(GzipStream(LocalFile(longer), threads=2))


def test_gzip_streams_one_after_the_other_are_read_as_one(tmp_path):
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(PLAIN[:4_000_000], 1) + gzip.compress(PLAIN[4_000_000:], 1))
    assert drain(GzipStream(LocalFile(path), threads=2)) == PLAIN


def test_a_seek_point_of_another_file_is_an_error(path, tmp_path):
    points = points_of(path, stride=1)
    other = write(tmp_path / "other.gz", payload(9_000_000, 9))
    shorter = write(tmp_path / "shorter.gz", b"short")
    for file in (other, shorter):
        with pytest.raises(DataError, match=r"seek point"):
            drain(GzipStream(LocalFile(file), points[2], threads=2))


def joined(pieces, **options):
    return b"".join(gzip.compress(piece, **options) for piece in pieces)


def blocks(size):
    return [PLAIN[at : at + size] for at in range(0, len(PLAIN), size)]


def named(piece):
    """A gzip stream whose header has a name, a comment, an extra field and a checksum."""
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x06\x00BC\x02\x00\x12\x34" + b"a name\0" + b"a comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    return head + gzip.compress(piece, 1)[10:]


def flushed(piece):
    """A gzip stream that ends with an empty block."""
    made = zlib.compressobj(1, wbits=31)
    return made.compress(piece) + made.flush(zlib.Z_SYNC_FLUSH) + made.flush()


SEVERAL = {
    "two": lambda: joined([PLAIN[:6_000_000], PLAIN[6_000_000:]], compresslevel=1),
    "small": lambda: joined(blocks(65_280), compresslevel=1),
    "equal": lambda: joined([PLAIN[:3_000_000]] * 4, compresslevel=1),
    "stored": lambda: joined(blocks(1_500_000), compresslevel=0),
    "of a gzip file": lambda: joined([joined(blocks(200_000), compresslevel=1)] * 2, compresslevel=0),
    "empty ones": lambda: (
        joined([b"", *blocks(4_000_000), b"", b""], compresslevel=1) + joined([b"", PLAIN[:3_000_000]], compresslevel=1)
    ),
    "named": lambda: b"".join(map(named, blocks(2_000_000))),
    "flushed": lambda: b"".join(map(flushed, blocks(1_000_000))),
    "padded": lambda: joined(blocks(4_000_000), compresslevel=1) + bytes(100_000),
    "padded, empty at its end": lambda: joined([PLAIN[:10_000_000], b""], compresslevel=1) + bytes(777),
}


@pytest.mark.parametrize(
    "which",
    [pytest.param(one, marks=() if number % 3 == 0 else pytest.mark.slow) for number, one in enumerate(SEVERAL)],
)
def test_every_seek_point_in_several_streams_leads_to_the_rest(which, tmp_path, monkeypatch):
    path = tmp_path / "several.gz"
    data = SEVERAL[which]()
    path.write_bytes(data)
    plain = gzip.decompress(data)
    points = points_of(path, stride=1)
    assert len(points) >= 3
    for point in points[1 :: max(1, len(points) // 2)]:
        assert drain(GzipStream(LocalFile(path), point, threads=2)) == plain[point.offset :]
    monkeypatch.setattr("sharding.archives.gzip_stream.RENEWAL_BYTES", 2 << 20)
    assert drain(GzipStream(LocalFile(path), threads=2, stride_bytes=1 << 20)) == plain


def test_what_the_source_says_of_a_failed_read_is_what_is_said():
    class Failing:
        name, size = "far", 5_000_000

        def read_at(self, offset, num_bytes):
            if offset > 1_000_000:
                raise DataError("far: the server is gone")
            return (gzip.compress(payload(3_000_000, 2), 1) + bytes(4_000_000))[offset : offset + num_bytes]

    with pytest.raises(DataError, match="far: the server is gone"):
        drain(GzipStream(Failing(), threads=2))


BOMB = """
import resource, sys
from sharding.archives.byte_source import LocalFile
from sharding.archives.gzip_stream import GzipStream
stream = GzipStream(LocalFile(sys.argv[1]), threads=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
while piece := stream.read(1 << 20):
    total += len(piece)
stream.close()
print(total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_file_made_to_burst_is_read_within_a_bound_of_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20), 9) * 24)
    run = subprocess.run([sys.executable, "-c", BOMB, path], capture_output=True, text=True, timeout=100, check=True)
    total, mebibytes = map(int, run.stdout.split())
    assert total == 24 * 64 << 20
    assert mebibytes < 1500


@pytest.mark.slow
def test_more_ends_of_streams_than_are_noted_spoil_no_seek_point(tmp_path, monkeypatch):
    monkeypatch.setattr("sharding.archives.stream_ends._MOST_FOOTERS", 1000)
    monkeypatch.setattr("sharding.archives.stream_ends._MANY_FOOTERS", 500)
    small = [payload(100, seed) for seed in range(9000)]
    plain = PLAIN + b"".join(small) + PLAIN
    path = tmp_path / "many.gz"
    path.write_bytes(gzip.compress(PLAIN, 1) + b"".join(map(gzip.compress, small)) + gzip.compress(PLAIN, 1))
    points = points_of(path, stride=1)
    assert len(points) >= 3  # before the small ones; there may be none behind them
    for point in points:
        assert drain(GzipStream(LocalFile(path), point, threads=2)) == plain[point.offset :]


@pytest.mark.parametrize("streams", [[b"one" * 1000], [b"one" * 1000, b"two"], [b"one" * 1000, b""], [b""]])
@pytest.mark.parametrize(("behind", "sound"), [(b"", True), (bytes(7), True), (b"x", False), (b"junk", False)])
@pytest.mark.parametrize("resumed", [False, True])
def test_behind_the_last_stream_are_zeros_and_nothing_else(tmp_path, streams, behind, sound, resumed):
    path = tmp_path / "x.gz"
    start = gzip.compress(PLAIN, 1) if resumed else b""
    path.write_bytes(start + b"".join(map(gzip.compress, streams)) + behind)
    point = points_of_sound(path, start)[-1] if resumed else None
    whole = (PLAIN if resumed else b"") + b"".join(streams)
    stream = GzipStream(LocalFile(path), point, threads=2)
    if sound:
        assert drain(stream) == whole[point.offset if point else 0 :]
        return
    with pytest.raises(DataError, match="followed by other bytes"):
        drain(stream)


def points_of_sound(path, start):
    """Seek points in the first stream of a file, taken from that stream alone."""
    alone = path.with_name("alone.gz")
    alone.write_bytes(start)
    return points_of(alone, stride=1)


def test_an_error_has_no_names_of_classes_and_threads(tmp_path):
    damaged = bytearray(gzip.compress(PLAIN, 1))
    for cut in range(1000, len(damaged), len(damaged) // 7):
        (tmp_path / "x.gz").write_bytes(damaged[:cut] + bytes(50) + damaged[cut + 50 :])
        with pytest.raises(DataError) as error:
            drain(GzipStream(LocalFile(tmp_path / "x.gz"), threads=2))
        assert not re.search(r"\[(Thread|[A-Z]\w+)", str(error.value)), str(error.value)
        assert "\n" not in str(error.value)
