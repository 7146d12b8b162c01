import hashlib
import json
import math

import pytest

from sharding.errors import DataError, UsageError
from sharding.format.index import Row
from sharding.format.manifest import ShardFile
from sharding.format.origin import Origin
from sharding.format.sample import DepthFacts
from sharding.format.shard import Span
from sharding.making.ledger import LEDGER_VERSION, Entry, Ledger
from sharding.making.target import LocalTarget
from sharding.sources.pairing import Refusal

NAME = "diode-train-000000.tar.zst"


def entry_of(data=b"shard"):
    digest = hashlib.sha256(data).hexdigest()
    return Entry(
        file=ShardFile(name=f"shards/{NAME}", samples=2, bytes=len(data), sha256=digest, compression="zstd"),
        rows=[
            Row(
                key="a",
                shard=NAME,
                height=12,
                width=16,
                depth=DepthFacts(kind="metric", valid_fraction=1 / 3, depth_min=0.1, depth_median=1e-45, depth_max=7.0),
                parts={"image": ("png", Span(0, 17, 4294967295)), "meta": ("json", Span(17, 3, 0))},
            ),
            Row(key="b", shard=NAME, origin=Origin(scene="7", scene_type="outdoor")),
        ],
        refused=[Refusal(key="c", files=("d/1.png", "d/1.npy"), reason="müde")],
        refused_at={"d/1.png": 1 << 62, "d/1.npy": 0},
        depth_error=0.1 + 0.2,
    )


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(LocalTarget(tmp_path))
    made.open({"seed": 0})
    made.write(entry_of())
    (tmp_path / "shards" / NAME).write_bytes(b"shard")
    return made


def test_a_line_gives_back_every_bit_of_its_entry():
    entry = entry_of()
    assert repr(Entry.decode(entry.encode())) == repr(entry)  # repr: NaN equals itself
    assert math.isnan(Entry.decode(entry.encode()).rows[1].depth.depth_min)
    assert entry.encode().count(b"\n") == 1


def test_a_line_is_found_by_the_shard_it_is_about(ledger):
    assert repr(ledger.read(NAME)) == repr(entry_of())
    assert ledger.read("diode-train-000001.tar.zst") is None
    assert ledger.read("diode-train-000000.tar") is None
    assert ledger.has_lines()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b'{"file": {}, "rows": 3}', b"\xff"])
def test_a_damaged_line_is_no_line(ledger, tmp_path, content):
    (tmp_path / ".making/diode-train-000000.json").write_bytes(content)
    assert ledger.read(NAME) is None


def test_every_cut_of_a_line_is_no_line(ledger, tmp_path):
    line = tmp_path / ".making/diode-train-000000.json"
    whole = line.read_bytes()
    for length in range(len(whole) - 1):
        line.write_bytes(whole[:length])
        assert ledger.read(NAME) is None


WRONG = {
    "height": b'"height": 12',
    "kind": b'"kind": "metric"',
    "offset": b'"offset": 17',
    "parts": b'{"image": ["png", {"offset": 0, "bytes": 17, "crc32c": 4294967295}]',
    "compression": b'"compression": "zstd"',
    "file": b'"d/1.npy": 0',
    "error": b'"depth_error": 0.30000000000000004',
}


@pytest.mark.parametrize(
    "value", [b"null", b'"x"', b"-1", b"1099511627776000000000", b"[]", b"{}", b"true", b"Infinity"]
)
@pytest.mark.parametrize("field", WRONG)
def test_a_line_with_a_value_of_another_type_is_no_line(ledger, tmp_path, field, value):
    line = tmp_path / ".making/diode-train-000000.json"
    written, name = line.read_bytes(), WRONG[field].partition(b":")[0]
    assert WRONG[field] in written
    line.write_bytes(written.replace(WRONG[field], name + b": " + value))
    if (field, value) in ACCEPTED:
        assert ledger.read(NAME) is not None
    else:
        assert ledger.read(NAME) is None


ACCEPTED = {("error", b"-1"), ("error", b"1099511627776000000000"), ("file", b"-1")}  # numbers, where any number goes


@pytest.mark.parametrize("damage", ["gone", "cut", "longer", "flipped", "folder"])
def test_a_shard_counts_only_with_the_hash_of_its_line(ledger, tmp_path, damage):
    assert ledger.is_whole(entry_of())
    path = tmp_path / "shards" / NAME
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes({"cut": data[:-1], "longer": data + b"\0", "flipped": b"\0" + data[1:]}[damage])
    assert not ledger.is_whole(entry_of())


def test_other_terms_are_refused_with_both_values(ledger, tmp_path):
    with pytest.raises(UsageError, match=r"unfinished.*seed is 0 there, 1 now"):
        Ledger(LocalTarget(tmp_path)).open({"seed": 1})
    assert ledger.read(NAME) is not None
    Ledger(LocalTarget(tmp_path)).open({"seed": 0})
    assert ledger.read(NAME) is not None


def test_a_plan_that_is_larger_than_what_is_read_is_refused_and_loses_nothing(ledger, tmp_path, monkeypatch):
    plan = tmp_path / ".making/plan.json"
    before = plan.read_bytes()
    monkeypatch.setattr("sharding.making.ledger.MAX_JSON_BYTES", len(before) - 1)
    with pytest.raises(
        DataError, match=rf"\.making/plan\.json: found {len(before)} bytes; at most .*DEPTHSTREAM_LIMIT"
    ):
        Ledger(LocalTarget(tmp_path)).open({"seed": 0})
    assert (plan.read_bytes(), ledger.read(NAME) is not None) == (before, True)
    with pytest.raises(DataError, match=r"other/\.making/plan\.json: found \d+ bytes; at most "):
        Ledger(LocalTarget(tmp_path / "other")).open({"seed": 0})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("plan", [None, b"", b"{", b"[]", b'{"files": 3}', b'{"files": {"a": "b"}}', b"[" * 9000])
def test_lines_without_a_plan_prove_nothing(ledger, tmp_path, plan):
    path = tmp_path / ".making/plan.json"
    path.unlink() if plan is None else path.write_bytes(plan)
    again = Ledger(LocalTarget(tmp_path))
    again.open({"seed": 0})
    assert again.read(NAME) is None
    assert not again.has_lines()
    assert (tmp_path / "shards" / NAME).exists()


@pytest.mark.parametrize("version", [None, LEDGER_VERSION - 1, LEDGER_VERSION + 1])
def test_an_unfinished_set_with_a_ledger_of_another_version_is_refused_and_kept(ledger, tmp_path, version):
    path = tmp_path / ".making/plan.json"
    plan = json.loads(path.read_text()) | {"version of the ledger": version}
    path.write_text(json.dumps({name: value for name, value in plan.items() if value is not None}))
    with pytest.raises(
        UsageError, match=f"ledger of version {version or 1}, this program continues version {LEDGER_VERSION}"
    ):
        Ledger(LocalTarget(tmp_path)).open({"seed": 0})
    assert ledger.read(NAME) is not None


def test_a_position_of_the_first_version_without_a_line_is_refused_and_kept(tmp_path):
    folder = tmp_path / ".making"
    (folder / "waiting").mkdir(parents=True)
    kept = {"plan.json": b'{"seed": 0}', "position.json": b"{}", "waiting/000000.bin": b"waited for"}
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match="ledger of version 1"):
        Ledger(LocalTarget(tmp_path)).open({"seed": 0})
    assert {name: (folder / name).read_bytes() for name in kept} == kept


def test_a_plan_alone_binds_no_run(tmp_path):
    Ledger(LocalTarget(tmp_path)).open({"seed": 0})
    (tmp_path / ".making/.plan.json.77.tmp").write_bytes(b"half")
    Ledger(LocalTarget(tmp_path)).open({"seed": 1})
    assert json.loads((tmp_path / ".making/plan.json").read_text())["seed"] == 1


def test_what_was_half_written_is_removed_and_nothing_else(tmp_path):
    ours = {
        "": ["manifest.json", "index.parquet", "quarantine.jsonl"],
        "shards": [NAME, "x.tar"],
        ".making": ["x.json"],
    }
    theirs = {"": [".secret.55.tmp", "name.77.tmp"], "shards": [".name.77.tmp", "name.77.tmp"]}
    for folder, names in ours.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            (tmp_path / folder / f".{name}.77.tmp").write_bytes(b"half")
    for folder, names in theirs.items():
        for name in names:
            (tmp_path / folder / name).write_bytes(b"somebody's")
    LocalTarget(tmp_path).begin()
    assert {
        folder: sorted(file.name for file in (tmp_path / folder).iterdir() if file.is_file()) for folder in ours
    } == {
        **theirs,
        ".making": [],
    }
