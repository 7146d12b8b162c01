import hashlib
import io
import subprocess
import tarfile

import pytest
import zstandard

from sharding.errors import DataError
from sharding.format.shard import ShardWriter, check_member, unpack_member
from sharding.format.shard_walk import detect_compression, iter_members, open_plain

MEMBERS = {"a.jpg": b"\xff\xd8" + bytes(range(256)) * 3, "a.depth.npy": bytes(2000), "a.json": b"{}", "b.jpg": b""}


def read_member(stored, name, crc32c, compression):
    check_member(stored, name, crc32c)
    return unpack_member(stored, name, compression)


def write(compression):
    file = io.BytesIO()
    writer = ShardWriter(file, compression)
    spans = {name: writer.add(name, payload) for name, payload in MEMBERS.items()}
    writer.close()
    return file.getvalue(), spans


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_span_alone_gives_its_payload_back(compression):
    data, spans = write(compression)
    for name, span in spans.items():
        stored = data[span.offset : span.offset + span.bytes]
        assert read_member(stored, name, span.crc32c, compression) == MEMBERS[name]


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_any_tar_reader_sees_the_members_in_order(compression):
    data, _ = write(compression)
    plain = open_plain(data, detect_compression(data)).read()
    found = [
        (member.name, plain[member.offset : member.offset + member.num_bytes])
        for member in iter_members(open_plain(data, detect_compression(data)))
    ]
    assert found == list(MEMBERS.items())


def test_the_same_members_give_these_bytes():
    # The bytes are the format: a change here makes every set of yesterday another set.
    data, _ = write("none")
    assert hashlib.sha256(data).hexdigest() == GOLDEN_TAR
    info = tarfile.open(fileobj=io.BytesIO(data)).getmembers()[0]
    assert (info.mtime, info.uid, info.gid, info.mode, info.uname, info.gname) == (0, 0, 0, 0o644, "", "")


GOLDEN_TAR = "8f08f8758d0410826f608f36fbab8a569c15810c49cab366ee5a7b29c06ea6f3"


def test_zstd_and_tar_accept_a_shard(tmp_path):
    path = tmp_path / "s.tar.zst"
    path.write_bytes(write("zstd")[0])
    plain = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True).read()
    assert plain == write("none")[0]
    listing = subprocess.run(["tar", "-tf", "-"], input=plain, capture_output=True, check=True).stdout.decode().split()
    assert listing == list(MEMBERS)


def test_each_member_is_a_frame_of_its_own_with_size_and_checksum():
    data, spans = write("zstd")
    for name, span in spans.items():
        parameters = zstandard.get_frame_parameters(data[span.offset : span.offset + span.bytes])
        assert parameters.has_checksum
        assert parameters.content_size == 512 + -(-len(MEMBERS[name]) // 512) * 512


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_one_flipped_bit_anywhere_is_found(compression):
    data, spans = write(compression)
    span = spans["a.jpg"]
    for at in range(span.offset, span.offset + span.bytes, 37):
        hurt = bytearray(data)
        hurt[at] ^= 1
        with pytest.raises(DataError, match="crc32c"):
            read_member(bytes(hurt[span.offset : span.offset + span.bytes]), "a.jpg", span.crc32c, compression)


def test_a_frame_of_another_member_is_not_taken_for_this_one():
    data, spans = write("zstd")
    span = spans["a.json"]
    with pytest.raises(DataError, match=r"expected member a\.jpg, found a\.json"):
        read_member(data[span.offset : span.offset + span.bytes], "a.jpg", span.crc32c, "zstd")


def test_a_frame_that_claims_gigabytes_is_refused_before_memory_is_taken():
    bomb = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(16)
    import google_crc32c

    with pytest.raises(DataError, match=r"its frame claims \d+ bytes; at most 536870912 are read"):
        read_member(bomb, "a.jpg", google_crc32c.value(bomb), "zstd")


def test_what_is_no_shard_is_told_by_its_first_bytes():
    with pytest.raises(DataError, match="504b0304"):
        detect_compression(b"PK\x03\x04" + bytes(508))


def test_a_truncated_tar_is_an_error_and_not_a_shorter_one():
    data, _ = write("zstd")
    with pytest.raises(DataError, match="truncated"):
        list(iter_members(open_plain(data[: len(data) // 2], "zstd")))
