import gzip
import random
import zlib

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sharding.archives.byte_source import LocalFile
from sharding.archives.stream_ends import Footers, StreamCrc, WatchedSource

PLAINS = st.lists(st.binary(max_size=300) | st.sampled_from([b"", b"same", b"other" * 50]), min_size=1, max_size=8)


def expected(plains, position):
    """Where the stream of a position begins, and its CRC-32 so far; at the end of a stream, those of the next."""
    begin = 0
    for plain in plains[:-1]:
        if position < begin + len(plain):
            break
        begin += len(plain)
    return begin, zlib.crc32(b"".join(plains)[begin:position])


@settings(max_examples=60, deadline=None)
@given(PLAINS, st.integers(0, 3), st.integers(12, 60), st.integers(1, 200), st.randoms(use_true_random=False))
def test_the_ends_of_streams_are_found_whatever_pieces_pass_in_whatever_order(plains, level, piece, step, order):
    # The end of a stream that is the beginning of an earlier one would fit there, too.
    assume(not any(one != other and one and other.startswith(one) for one in plains for other in plains))
    data = b"".join(gzip.compress(plain, level) for plain in plains)
    footers = Footers()
    pieces = [(at, data[at : at + piece]) for at in range(0, len(data), piece)]
    order.shuffle(pieces)
    for at, content in pieces:
        footers.see(at, content)
    crc, plain = StreamCrc(footers), b"".join(plains)
    for at in range(0, len(plain), step):
        crc.take(plain[at : at + step])
        assert crc.position == min(at + step, len(plain))
        assert (crc.begin, crc.crc32) == expected(plains, crc.position)


def test_a_stream_of_more_than_4_gib_ends_where_its_length_says_modulo_2_to_the_32():
    length, before = (1 << 32) + 300, 1 << 20
    start = length - before
    plain = random.Random(0).randbytes(before)
    footer = zlib.crc32(plain, 77).to_bytes(4, "little") + (length % (1 << 32)).to_bytes(4, "little")
    footers = Footers()
    footers.see(500, b"deflate" + footer + b"\x1f\x8b\x08\0" + bytes(20))
    crc = StreamCrc(footers, start, 0, 77, 3)
    crc.take(plain + b"next")
    assert (crc.position, crc.begin, crc.crc32, crc.byte) == (length + 4, length, zlib.crc32(b"next"), 515)


def test_a_file_full_of_false_ends_takes_little_memory_and_time():
    footers, generator = Footers(), random.Random(0)
    data = b"".join(generator.randbytes(8) + b"\x1f\x8b\x08\0" for _ in range(40_000))
    for at in range(0, len(data), 1 << 16):
        footers.see(at, data[at : at + (1 << 16)])
        footers.forget(at - 1000)
    assert footers._count < 11_000


def test_what_is_read_of_a_source_passes_by(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two") + bytes(10))
    footers = Footers()
    source = WatchedSource(LocalFile(path), footers, path.stat().st_size - 10)
    assert source.read_at(0, 10_000) == path.read_bytes()[:-10]
    assert source.read_at(source.size, 5) == b""
    assert footers.find(3, zlib.crc32(b"one"), 0) == len(gzip.compress(b"one"))
