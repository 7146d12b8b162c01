import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import numpy as np
import pytest
from making_bench.archive_server import serve
from making_bench.virtual_archive import ArchiveEntry, VirtualArchive

from sharding.archives.archive import open_archive
from sharding.archives.members import MemberReader
from sharding.archives.url_source import open_source

BODIES = [np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()]
ENTRIES = [ArchiveEntry(name=f"{number:04d}.bin", lead=b"%d" % number, body=0) for number in range(20)]


@pytest.fixture(scope="module")
def archive():
    return VirtualArchive(ENTRIES, BODIES)


@pytest.fixture(scope="module")
def whole(archive):
    return b"".join(archive.read(0, archive.size))


@pytest.fixture(scope="module")
def served(archive):
    with serve(archive, "a.tar.gz") as served:
        yield served


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
        return response.status, response.headers, response.read()


def test_the_whole_and_ranges_are_the_archives_bytes(served, whole):
    status, headers, body = get(served.url)
    assert (status, int(headers["Content-Length"]), body) == (200, len(whole), whole)
    for asked, part in (("5-99", slice(5, 100)), ("700000-", slice(700_000, None)), ("9-99999999", slice(9, None))):
        status, ranged, body = get(served.url, Range=f"bytes={asked}")
        assert (status, body) == (206, whole[part])
        start = part.start
        assert ranged["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/{len(whole)}"
        assert ranged["ETag"] == headers["ETag"]


def test_a_range_beyond_the_end_is_refused(served, whole):
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(served.url, Range=f"bytes={len(whole)}-")


def test_the_parallel_reader_reads_it_and_the_position_is_told(archive):
    with serve(archive, "a.tar.gz") as served:
        assert served.position() == 0
        with open_archive(open_source(served.url)) as opened:
            found = {member.name: member.data for member in MemberReader(opened)}
        assert served.position() == archive.size
    assert found == {entry.name: entry.lead + BODIES[0] for entry in ENTRIES}


def test_a_look_at_the_end_does_not_count_as_read(archive, whole):
    with serve(archive, "a.tar.gz") as served:
        get(served.url, Range=f"bytes={len(whole) - 10}-")
        get(served.url, Range="bytes=0-99")
        assert served.position() == 100


def test_the_server_ends_with_the_context(archive):
    with serve(archive, "a.tar.gz") as served:
        place = urlsplit(served.url)
        socket.create_connection((place.hostname, place.port), timeout=10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port), timeout=10)
