"""What a run began with, found by its record, by the encoder's run folder, or by the file's content."""

import hashlib
from pathlib import Path

from training.report.arms.encoder import Encoder, PretrainedOn, PretrainRecord, find_encoder
from training.runfolder import SCRATCH


def find(path: Path | str, run: Path, sha256: str | None = None, recorded: PretrainRecord | None = None) -> Encoder:
    return find_encoder(str(path), run, sha256, recorded)


def test_random_weights_are_all_alike(tmp_path: Path) -> None:
    found = find(SCRATCH, tmp_path)
    assert (found.kind, found.key, found.describe()) == ("random", "random", "random weights")


def test_two_seeds_of_a_pretraining_are_one_kind_of_encoder(write_encoder, tmp_path: Path) -> None:
    found = [find(write_encoder(f"e-{seed}", seed=seed, content=b"%d" % seed), tmp_path) for seed in (0, 1)]
    assert found[0].key == found[1].key
    assert [one.seed for one in found] == [0, 1]
    assert [one.sha256 for one in found] == [hashlib.sha256(content).hexdigest() for content in (b"0", b"1")]
    other = find(write_encoder("other", augmentation="aggressive"), tmp_path)
    assert other.key != found[0].key
    assert other.describe() == "dino, aggressive"


def test_the_sets_of_a_pretraining_count_by_identity(write_encoder, tmp_path: Path) -> None:
    same, other = (find(write_encoder(name, identity=name * 64), tmp_path) for name in ("c", "d"))
    assert (same.options["sets"], other.options["sets"]) == (["c" * 64], ["d" * 64])
    assert same.key != other.key


def test_the_record_of_the_run_is_believed_before_the_folder(write_encoder, tmp_path: Path) -> None:
    folder = write_encoder("e", augmentation="aggressive")
    record = PretrainRecord(config={"augmentation": "conservative", "seed": 5}, sets=[PretrainedOn(identity="x")])
    found = find(folder, tmp_path, "f" * 64, record)
    assert (found.options["augmentation"], found.options["sets"]) == ("conservative", ["x"])
    assert (found.sha256, found.seed) == ("f" * 64, 5)


def test_a_relative_path_is_looked_for_above_the_run(write_encoder, tmp_path: Path, monkeypatch) -> None:
    write_encoder("runs/e", augmentation="aggressive")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find("runs/e", tmp_path / "runs/depth").options["augmentation"] == "aggressive"


def test_a_file_of_unknown_origin_counts_by_content_and_a_lost_one_by_path(tmp_path: Path) -> None:
    for name, content in (("one.pt", b"1"), ("copy.pt", b"1"), ("two.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    one, copy, two = (find(tmp_path / f"{name}.pt", tmp_path) for name in ("one", "copy", "two"))
    assert one.kind == "file"
    assert one.key == copy.key != two.key
    assert one.describe() == f"one.pt (sha256 {hashlib.sha256(b'1').hexdigest()[:12]})"
    lost = find(tmp_path / "gone.pt", tmp_path)
    assert (lost.key, lost.describe()) == (str(tmp_path / "gone.pt"), "gone.pt")
