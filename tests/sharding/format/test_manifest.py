"""A manifest is read as it was written, or refused in one line that names the field."""

import gzip
import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.format.manifest import Manifest
from sharding.limits import MAX_JSON_BYTES
from tests.sharding.format.indexes import MANIFEST

WRITTEN = MANIFEST.encode()
SHARD = "shards[0]"


def edited(place, value):
    """The manifest with a value in place of another; `place` is a tuple of fields."""
    content = json.loads(WRITTEN)
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return json.dumps(content).encode()


def refusal(data):
    with pytest.raises(DataError) as caught:
        Manifest.decode(data, "s/manifest.json")
    text = str(caught.value)
    assert text.startswith("s/manifest.json: ")
    assert "\n" not in text
    assert len(text) < 1000
    return text.removeprefix("s/manifest.json: ")


def test_a_manifest_is_read_as_it_was_written():
    assert Manifest.decode(WRITTEN, "m") == MANIFEST
    assert Manifest.decode(WRITTEN, "m").encode() == WRITTEN


@pytest.mark.parametrize(
    "name",
    [
        "/dev/zero",
        "../../x",
        "shards/../x",
        "shards/",
        "shards/.hidden",
        "shards/-rf",
        "shards/a/b",
        "shards/a b",
        "shards/$(id)",
        'shards/a"',
        "shards/a\n",
        "shards/a\0",
        "shards/\u00e9",
        "shards/\ud800",
        "a.tar",
        "",
    ],
)
def test_a_shard_has_a_plain_name_in_the_folder_of_shards(name):
    said = refusal(edited(("shards", 0, "name"), name))
    assert said.startswith(f"{SHARD}.name: expected text of the form 'shards/[A-Za-z0-9_][A-Za-z0-9._-]*', found ")


WRONG = [
    (("shards", 0, "compression"), None, f"{SHARD}.compression: expected str, found null"),
    (("shards", 0, "compression"), [], f"{SHARD}.compression: expected str, found a list of 0"),
    (("shards", 0, "compression"), "gzip", f"{SHARD}.compression: expected one of 'none', 'zstd', found \"gzip\""),
    (("shards", 0, "compression"), "\ud800", "expected names of fields and words, found half characters"),
    (("\ud800",), 1, "expected names of fields and words, found half characters"),
    (("shards", 0, "samples"), -1, f"{SHARD}.samples: expected int >= 0, found -1"),
    (("shards", 0, "samples"), True, f"{SHARD}.samples: expected int, found true"),
    (("shards", 0, "bytes"), 2**63, f"{SHARD}.bytes: expected int <= 9223372036854775807, found 9223372036854775808"),
    (("shards", 0, "bytes"), 1.0, f"{SHARD}.bytes: expected int, found 1.0"),
    (("shards", 0, "sha256"), "A1" * 32, f"{SHARD}.sha256: expected text of the form '[0-9a-f]{{64}}', found "),
    (("index_sha256",), "", "index_sha256: expected text of the form '[0-9a-f]{64}', found \"\""),
    (("shards", 0), {}, f"{SHARD}: expected a field name, found none"),
    (("shards",), {}, "shards: expected array, found an object of 0"),
    (("samples",), 5, "samples: expected 4, which follows from its list of shards, found 5: it was edited or damaged"),
    (("bytes",), 5, "bytes: expected 5000, which follows from its list of shards, found 5: it was edited or damaged"),
    (("identity",), "0" * 64, "identity: expected "),
    (("format",), "1", 'format: expected int, found "1"'),
    (("format",), 2, "format version 2, this program reads 1; it was made by depthstream"),
    (("name",), "../x", "name: expected text of the form "),
    (("tool",), "x" * 5000, "tool: expected str of length <= 4096, found "),
    (("made", "max_side"), "8", 'made.max_side: expected int | null, found "8"'),
    (("made", "jpeg_quality"), 0, "made.jpeg_quality: expected int >= 1, found 0"),
    (("made", "jpeg_quality"), 101, "made.jpeg_quality: expected int <= 100, found 101"),
    (("made", "jpeg_quality"), None, "made.jpeg_quality: expected int, found null"),
    (("made", "jpeg_subsampling"), "4:1:1", "made.jpeg_subsampling: expected one of '4:2:0', '4:2:2', '4:4:4', found "),
    (("made", "deep"), {"a": {"b": 1}}, "made[...][...]: expected "),
    (("source", "skipped"), [1], "source[...]: expected "),
    (("source", "skipped"), {"normals": -1}, "source.skipped[...]: expected int >= 0"),
    (("codecs",), None, "codecs: expected object, found null"),
]


@pytest.mark.parametrize(("place", "value", "said"), WRONG)
def test_a_wrong_field_is_named_with_what_was_expected_and_found(place, value, said):
    assert refusal(edited(place, value)).startswith(said)


def test_a_shard_listed_twice_is_named():
    twice = replace(MANIFEST, samples=8, shards=MANIFEST.shards * 2)
    assert refusal(twice.encode()).startswith(
        f"shards: expected each shard once, found {MANIFEST.shards[0].name} twice"
    )


def test_a_set_without_samples_is_none():
    empty = replace(MANIFEST, samples=0, shards=())
    assert refusal(empty.encode()).startswith("samples: expected at least one, found 0")


def test_fields_that_a_later_version_adds_are_ignored():
    assert Manifest.decode(edited(("later",), [{"any": "thing"}]), "m") == MANIFEST
    assert Manifest.decode(edited(("made", "later"), 7), "m").made == {**MANIFEST.made, "later": 7}


def test_a_name_that_is_no_utf8_is_kept():
    named = replace(MANIFEST, source={**MANIFEST.source, "archive": "caf\udce9.tar.gz"})
    assert Manifest.decode(named.encode(), "m") == named


def padded(size):
    return edited(("made", "x"), "x" * size)


DAMAGED = {
    "empty": (b"", "expected JSON, found 0 bytes"),
    "cut": (WRITTEN[:200], "expected JSON, found 200 bytes"),
    "gzip": (gzip.compress(WRITTEN), "expected JSON, found a gzip file"),
    "utf-16": (WRITTEN.decode().encode("utf-16"), "expected JSON, found"),
    "bom": (b"\xef\xbb\xbf" + WRITTEN, "expected JSON, found"),
    "list": (b"[]", "expected object, found a list of 0"),
    "number": (b"1", "expected object, found 1"),
    "nan": (edited(("made", "x"), float("nan")), "expected JSON, found"),
    "infinity": (edited(("made", "x"), float("inf")), "expected JSON, found"),
    "too large a float": (WRITTEN.replace(b"0.5", b"1e999"), "expected JSON, found"),
    "digits": (WRITTEN.replace(b"5000", b"5" * 5000), "expected JSON, found"),
    "lists in lists": (b"[" * 100_000, "expected records, found 100000 objects and lists"),
    "fewer lists in lists": (b"[" * 9000 + b"]" * 9000, "expected JSON of a few levels"),
    "objects in objects": (b'{"format":' * 9000 + b"1" + b"}" * 9000, "expected JSON of a few levels"),
    "many objects": (b"[" + b"{}," * 100_000 + b"{}]", "expected records, found 100002 objects and lists"),
    "size": (b" " * (MAX_JSON_BYTES + 1), f"found {MAX_JSON_BYTES + 1} bytes; at most {MAX_JSON_BYTES} are read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_manifest_is_refused_at_once(name):
    data, said = DAMAGED[name]
    started = time.perf_counter()
    assert refusal(data).startswith(said)
    assert time.perf_counter() - started < 2


def same_or_refused(data):
    try:
        found = Manifest.decode(data, "s/manifest.json")
    except DataError:
        refusal(data)
    else:
        # What a reader goes by is typed, whatever was changed.
        assert Manifest.decode(found.encode(), "s/manifest.json") == found


PLACES = [
    *[(name,) for name in json.loads(WRITTEN)],
    *[("shards", 0, name) for name in ("name", "samples", "bytes", "sha256", "compression")],
    *[("made", "seed"), ("source", "skipped"), ("source", "md5"), ("codecs", "depth"), ("shards", 0)],
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_in_any_field_is_typed_or_refused(place, value):
    same_or_refused(edited(place, value))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WRITTEN)), st.integers(0, 20), st.binary(max_size=8))
def test_any_bytes_anywhere_are_typed_or_refused(at, cut, inserted):
    same_or_refused(WRITTEN[:at] + inserted + WRITTEN[at + cut :])
