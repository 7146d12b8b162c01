import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.sources.joiner import Waiting
from sharding.sources.pairing import Refusal
from sharding.sources.resume_point import ResumePoint
from sharding.sources.source import SourceFile
from sharding.sources.spool import SpoolPlace

TEXT = st.text(max_size=12)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
COUNT = st.integers(0, 1 << 40)
PLACES = st.builds(SpoolPlace, segment=TEXT, offset=COUNT, bytes=COUNT, crc32=COUNT)
KEPT = st.lists(st.tuples(st.builds(SourceFile, TEXT, COUNT), PLACES), max_size=3).map(tuple)
WAITING = st.lists(st.builds(Waiting, kept=KEPT, held=NAMES, contradicted=NAMES), max_size=3).map(tuple)
REFUSED = st.lists(st.builds(Refusal, key=TEXT, files=NAMES, reason=TEXT), max_size=3).map(tuple)
POSITIONS = st.builds(
    ResumePoint,
    shard=COUNT,
    offset=COUNT,
    enter=COUNT,
    seek_point=st.binary(max_size=40),
    archive=TEXT,
    used=COUNT,
    probe=TEXT,
    waiting=WAITING,
    skipped=st.dictionaries(TEXT, COUNT, max_size=3),
    refused=REFUSED,
    members=COUNT,
    ended=st.booleans(),
    md5=TEXT,
    md5_state=st.binary(max_size=100),
)


@settings(max_examples=100, deadline=None)
@given(POSITIONS)
def test_a_position_is_read_as_it_was_written(position):
    assert ResumePoint.decode(position.encode()) == position
    assert position.segments == {place.segment for one in position.waiting for _, place in one.kept}
    assert position.held == {name for one in position.waiting for name in one.held}


def test_every_part_of_a_position_is_missed():
    content = json.loads(ResumePoint().encode())
    for name in ("seek_point", "md5_state", "waiting", "refused"):
        with pytest.raises(DataError, match=f"resume point: expected a field {name}"):
            ResumePoint.decode(json.dumps({key: value for key, value in content.items() if key != name}).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"x"', ResumePoint().encode()[:-9], b'{"seek_point": 1}', ResumePoint().encode()[1:]],
)
def test_something_else_is_no_position(data):
    with pytest.raises(DataError, match=r"^resume point: "):
        ResumePoint.decode(data)
