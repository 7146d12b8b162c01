import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.archives import md5 as md5_module
from sharding.archives.md5 import ResumableMd5
from tests.sharding.shard_runs import environment


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=12))
def test_saved_and_gone_on_with_at_any_place_it_is_the_md5(pieces):
    going = ResumableMd5()
    for number, piece in enumerate(pieces):
        going.update(piece)
        assert going.hexdigest() == md5(b"".join(pieces[: number + 1]))  # asking changes nothing
        going = ResumableMd5(going.state())
    assert going.hexdigest() == md5(b"".join(pieces))


def test_another_process_goes_on():
    first = ResumableMd5()
    first.update(b"a" * 1000)
    code = "import sys; from sharding.archives.md5 import ResumableMd5\n"
    code += "md5 = ResumableMd5(bytes.fromhex(sys.argv[1])); md5.update(b'b' * 77); print(md5.hexdigest())"
    command = [sys.executable, "-c", code, first.state().hex()]
    found = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == md5(b"a" * 1000 + b"b" * 77)


def test_without_openssl_it_is_an_md5_that_cannot_be_saved(monkeypatch):
    state = ResumableMd5().state()
    assert state
    monkeypatch.setattr(md5_module, "_find_openssl", lambda: None)
    plain = ResumableMd5()
    plain.update(b"abc")
    assert (plain.state(), plain.hexdigest()) == (b"", md5(b"abc"))
    with pytest.raises(ValueError, match="cannot resume"):
        ResumableMd5(state)


def test_half_a_state_is_none():
    with pytest.raises(ValueError, match="cannot resume"):
        ResumableMd5(ResumableMd5().state()[1:])
