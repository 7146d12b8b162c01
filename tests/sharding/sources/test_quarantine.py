import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.limits import MAX_JSON_BYTES
from sharding.sources.pairing import Refusal
from sharding.sources.quarantine import decode_quarantine

REFUSED = [Refusal(key="a", files=("d/1.png", "d/caf\udce9.npy"), reason="müde"), Refusal(key="", files=(), reason="")]
WRITTEN = "".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in REFUSED).encode()


def test_lines_are_read_as_they_were_written():
    assert decode_quarantine(WRITTEN, "q") == REFUSED
    assert decode_quarantine(b"", "q") == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (WRITTEN + b"{}\n", "q, line 3: expected a field key, found none"),
        (WRITTEN + b"{", "q, line 3: expected JSON"),
        (b'{"key":"a","files":"b","reason":""}', 'q, line 1: files: expected array, found "b"'),
        (b'{"key":"a","files":["b",1],"reason":""}', "q, line 1: files[1]: expected str, found 1"),
        (b'{"key":null,"files":[],"reason":""}', "q, line 1: key: expected str, found null"),
        (b" " * (MAX_JSON_BYTES + 1), f"q: found {MAX_JSON_BYTES + 1} bytes; at most"),
    ],
)
def test_a_wrong_line_is_named(data, said):
    with pytest.raises(DataError) as caught:
        decode_quarantine(data, "q")
    assert str(caught.value).startswith(said)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WRITTEN)), st.integers(0, 9), st.binary(max_size=9))
def test_any_bytes_anywhere_are_typed_or_refused(at, cut, inserted):
    said, found = "", []
    try:
        found = decode_quarantine(WRITTEN[:at] + inserted + WRITTEN[at + cut :], "q")
    except DataError as error:
        said = str(error)
    assert said == "" or said.startswith("q, line ")
    assert "\n" not in said
    assert all(isinstance(one.key, str) and isinstance(one.files, tuple) for one in found)
