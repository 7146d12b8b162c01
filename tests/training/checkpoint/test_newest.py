import os

import pytest
import torch

from sharding.errors import DataError
from training.checkpoint import newest
from training.checkpoint.newest import find_damage, find_newest, keep_as_previous, remove_leftovers
from training.checkpoint.writer import AtomicCheckpointIO


class Killed(BaseException):
    """Stands for the end of the process at that point."""


def write(path, number):
    AtomicCheckpointIO().save_checkpoint({"weights": torch.full((1000,), float(number)), "number": number}, path)


def read(path):
    content = torch.load(path, weights_only=True)
    assert torch.equal(content["weights"], torch.full((1000,), float(content["number"])))
    return content["number"]


@pytest.fixture
def folder(tmp_path):
    """With checkpoint 2, and 1 before it."""
    write(tmp_path / "last-1.ckpt", 1)
    write(tmp_path / "last.ckpt", 2)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cut(length):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[: length if length >= 0 else len(content) + length])

    return damage


def flip(path):
    """One bit in the middle of the tensor."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((1000,), 2.0).numpy().tobytes()) + 2001] ^= 1
    path.write_bytes(content)


def flip_in_a_name(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"data.pkl")] ^= 0x80
    path.write_bytes(content)


DAMAGES = {
    "empty": cut(0),
    "one byte": cut(1),
    "head": cut(100),
    "half": cut(2500),
    "without directory": cut(-400),
    "without the last byte": cut(-1),
    "one bit": flip,
    "text": lambda path: path.write_text("<html>not found</html>"),
}


def test_there_may_be_none(tmp_path):
    assert find_newest(tmp_path) is None
    assert find_newest(tmp_path / "nowhere") is None


def test_the_last_one_is_taken(folder, capsys):
    assert find_newest(folder) == folder / "last.ckpt"
    assert (names(folder), capsys.readouterr().err) == (["last-1.ckpt", "last.ckpt"], "")


def test_the_one_before_is_taken_if_the_last_is_missing(folder, capsys):
    (folder / "last.ckpt").unlink()
    assert find_newest(folder) == folder / "last-1.ckpt"
    assert (names(folder), capsys.readouterr().err) == (["last-1.ckpt"], "")


def test_a_damaged_previous_one_does_not_matter(folder):
    cut(99)(folder / "last-1.ckpt")
    assert find_newest(folder) == folder / "last.ckpt"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_last_one_is_reported_and_set_aside(folder, capsys, damage):
    last = folder / "last.ckpt"
    damage(last)
    text = find_damage(last)
    content = last.read_bytes()
    assert text
    assert find_newest(folder) == folder / "last-1.ckpt"
    assert capsys.readouterr().err == (
        f"{last} is damaged ({text}) and now named damaged.ckpt; resuming from the one before it, last-1.ckpt\n"
    )
    assert names(folder) == ["damaged.ckpt", "last-1.ckpt"]
    assert (folder / "damaged.ckpt").read_bytes() == content
    assert find_newest(folder) == folder / "last-1.ckpt"
    assert capsys.readouterr().err == ""


def test_the_damage_of_a_tensor_is_named(folder):
    flip(folder / "last.ckpt")
    assert find_damage(folder / "last.ckpt") == "checksum of archive/data/0 does not match"


def test_every_truncation_is_found(tmp_path):
    whole, short = tmp_path / "whole", tmp_path / "short"
    write(whole, 1)
    content = whole.read_bytes()
    assert find_damage(whole) is None
    for length in [*range(0, len(content), 37), len(content) - 1]:
        short.write_bytes(content[:length])
        assert find_damage(short), length


def test_every_flipped_byte_of_a_tensor_is_found(tmp_path):
    whole, other = tmp_path / "whole", tmp_path / "other"
    write(whole, 1)
    content = whole.read_bytes()
    first = content.index(torch.full((1000,), 1.0).numpy().tobytes())
    for place in range(first, first + 4000, 13):
        other.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        assert find_damage(other) == "checksum of archive/data/0 does not match", place


def test_a_flipped_byte_in_the_records_of_the_archive_is_reported(folder):
    flip_in_a_name(folder / "last.ckpt")
    assert find_damage(folder / "last.ckpt")
    assert find_newest(folder) == folder / "last-1.ckpt"


def test_damage_is_never_an_error_or_taken_for_a_missing_file(tmp_path):
    whole, other = tmp_path / "whole", tmp_path / "other"
    write(whole, 1)
    content = whole.read_bytes()
    tensor = content.index(torch.full((1000,), 1.0).numpy().tobytes())
    for place in [*range(tensor), *range(tensor + 4000, len(content))]:
        other.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        assert find_damage(other) != "", place


def test_two_damaged_ones_are_an_error_that_names_both(folder):
    cut(50)(folder / "last.ckpt")
    cut(60)(folder / "last-1.ckpt")
    with pytest.raises(DataError) as caught:
        find_newest(folder)
    text = "a zip archive without its end: it was cut off, or something follows it"
    assert str(caught.value) == (
        f"{folder}: every checkpoint is damaged (last.ckpt: {text}; last-1.ckpt: {text}); "
        "remove them to begin the run again"
    )
    assert names(folder) == ["last-1.ckpt", "last.ckpt"]


def test_a_single_damaged_one_is_an_error(folder):
    (folder / "last-1.ckpt").unlink()
    cut(50)(folder / "last.ckpt")
    with pytest.raises(DataError, match=r"every checkpoint is damaged \(last.ckpt: a zip archive without its end: "):
        find_newest(folder)


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_other_ranks_come_to_the_same_answer_and_leave_renaming_to_rank_0(folder, capsys, monkeypatch, variable):
    flip(folder / "last.ckpt")
    monkeypatch.setenv(variable, "1")
    assert find_newest(folder) == folder / "last-1.ckpt"
    assert (names(folder), capsys.readouterr().err) == (["last-1.ckpt", "last.ckpt"], "")
    monkeypatch.setenv(variable, "0")
    assert find_newest(folder) == folder / "last-1.ckpt"
    monkeypatch.setenv(variable, "1")  # a rank that asks later
    assert find_newest(folder) == folder / "last-1.ckpt"
    assert names(folder) == ["damaged.ckpt", "last-1.ckpt"]


def test_the_last_one_becomes_the_previous_one_too(folder):
    keep_as_previous(folder)
    assert [read(folder / name) for name in names(folder)] == [2, 2]
    write(folder / "last.ckpt", 3)
    assert [read(folder / name) for name in ("last.ckpt", "last-1.ckpt")] == [3, 2]


def test_without_a_last_one_nothing_happens(tmp_path):
    keep_as_previous(tmp_path)
    assert names(tmp_path) == []
    write(tmp_path / "last-1.ckpt", 1)
    keep_as_previous(tmp_path)
    assert names(tmp_path) == ["last-1.ckpt"]


def no_links(*arguments, **options):
    raise OSError("operation not supported")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("links", "call"), [(True, "link"), (True, "replace"), (False, "replace")])
def test_a_kill_between_any_two_calls_leaves_a_whole_one(folder, monkeypatch, links, call, after):
    """Then the run goes on from it, and saves as ever."""
    real = getattr(os, call)

    def killed(*arguments):
        if after:
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        if not links:
            patch.setattr(newest.os, "link", no_links)
        patch.setattr(newest.os, call, killed)
        with pytest.raises(Killed):
            keep_as_previous(folder)
    assert read(find_newest(folder)) == 2
    keep_as_previous(folder)
    write(folder / "last.ckpt", 3)
    assert [read(folder / name) for name in ("last.ckpt", "last-1.ckpt")] == [3, 2]


def test_a_kill_before_the_new_one_is_written_does_not_lose_the_place(folder):
    for _ in range(3):  # each time resumed, and killed again at the next save
        keep_as_previous(folder)
        assert read(find_newest(folder)) == 2


def test_it_works_without_hard_links(folder, monkeypatch):
    monkeypatch.setattr(newest.os, "link", no_links)
    keep_as_previous(folder)
    assert read(find_newest(folder)) == 2
    write(folder / "last.ckpt", 3)
    assert [read(folder / name) for name in ("last.ckpt", "last-1.ckpt")] == [3, 2]
    assert names(folder) == ["last-1.ckpt", "last.ckpt"]


def test_what_a_kill_left_half_written_is_removed_and_nothing_else(folder):
    (folder / ".last.ckpt.4711.tmp").write_bytes(b"half")
    (folder / ".last-1.ckpt.tmp").write_bytes(b"half")
    remove_leftovers(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["last-1.ckpt", "last.ckpt"]
