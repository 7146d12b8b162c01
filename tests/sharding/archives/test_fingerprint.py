import hashlib
from contextlib import closing

import numpy as np
import pytest

from sharding.archives.fingerprint import PROBE_BYTES, SAMPLE_BYTES, take_fingerprint
from sharding.archives.url_source import open_source
from tests.sharding.archives.test_url_source import serving

DATA = np.random.default_rng(0).bytes(3 * SAMPLE_BYTES)


def taken(path, data):
    path.write_bytes(data)
    with closing(open_source(str(path))) as source:
        return take_fingerprint(source, str(path))


def changed(at):
    data = bytearray(DATA)
    data[at] ^= 1
    return bytes(data)


def test_it_is_the_hash_of_size_and_both_ends(tmp_path):
    found = taken(tmp_path / "x.tar", DATA)
    ends = DATA[:SAMPLE_BYTES] + DATA[-SAMPLE_BYTES:]
    assert found.whole == hashlib.sha256(b"%d\0" % len(DATA) + ends).hexdigest()
    assert found.head == hashlib.sha256(DATA[:SAMPLE_BYTES]).hexdigest()
    assert (found.name, found.bytes) == ("x.tar", len(DATA))
    assert found.described == f"{len(DATA)} bytes, fingerprint {found.whole[:16]}"


@pytest.mark.parametrize(
    ("data", "head", "whole"),
    [
        (changed(0), False, False),
        (changed(SAMPLE_BYTES - 1), False, False),
        (changed(SAMPLE_BYTES), True, True),
        (changed(2 * SAMPLE_BYTES), True, False),
        (changed(-1), True, False),
        (DATA[:-1], True, False),
        (DATA + b"\0", True, False),
    ],
)
def test_a_change_at_an_end_or_of_the_size_is_noticed(tmp_path, data, head, whole):
    first, second = taken(tmp_path / "x", DATA), taken(tmp_path / "y", data)
    assert (first.head == second.head, first.whole == second.whole) == (head, whole)


@pytest.mark.parametrize("size", [0, 1, 1000, SAMPLE_BYTES, SAMPLE_BYTES + 1])
def test_a_short_archive_has_one_too(tmp_path, size):
    data = DATA[:size]
    found = taken(tmp_path / "x", data)
    expected = hashlib.sha256(b"%d\0" % size + data[:SAMPLE_BYTES] + data[max(0, size - SAMPLE_BYTES) :])
    assert found.whole == expected.hexdigest()


def test_a_probe_tells_what_stands_before_a_byte(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(DATA)
    place = 2 * SAMPLE_BYTES
    with closing(open_source(str(path))) as source:
        first = take_fingerprint(source, str(path)).probe(place)
        assert first == hashlib.sha256(DATA[place - PROBE_BYTES : place]).hexdigest()
        for at, same in (
            (place, True),
            (place - 1, False),
            (place - PROBE_BYTES, False),
            (place - PROBE_BYTES - 1, True),
        ):
            path.write_bytes(changed(at))
            assert (take_fingerprint(source, str(path)).probe(place) == first) == same
        assert take_fingerprint(source, str(path)).probe(10) == hashlib.sha256(changed(at)[:10]).hexdigest()


def test_a_url_is_named_without_what_may_be_secret_and_not_probed():
    with serving(DATA) as (url, _), closing(open_source(url)) as source:
        found = take_fingerprint(source, url.replace("http://", "http://user:secret@") + "?token=secret#part")
        assert (found.name, found.probe(1000)) == ("x", "")
        assert (
            found.whole == hashlib.sha256(b"%d\0" % len(DATA) + DATA[:SAMPLE_BYTES] + DATA[-SAMPLE_BYTES:]).hexdigest()
        )
