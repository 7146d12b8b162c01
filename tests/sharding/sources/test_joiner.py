import random
from contextlib import closing
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.sources import diode, megadepth
from sharding.sources.folder import FolderSource
from sharding.sources.joiner import Joiner
from sharding.sources.source import SourceFile
from sharding.sources.spool import Spool

JUNK = ["top/._x.png", "README", "top/val/outdoor/scene_00001/scan_00001/x", "a/0001/dense0/imgs/._1.jpg", "a/b.sfm"]
SUFFIXES = (".png", "_depth.npy", "_depth_mask.npy", "_normal.npy")
DIODE = st.tuples(st.sampled_from(["train", "val"]), st.sampled_from(["indoors", "outdoor"]), st.integers(0, 2),
                  st.integers(0, 5), st.sampled_from(SUFFIXES))  # fmt: skip
MEGADEPTH = st.tuples(
    st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.sampled_from(["jpg", "png", "h5", "x"])
)


def diode_name(part):
    split, kind, scene, azimuth, suffix = part
    folder = f"top/{split}/{kind}/scene_{scene:05d}/scan_{scene:05d}"
    return f"{folder}/{scene:05d}_{scene:05d}_{kind}_{azimuth:03d}_000{suffix}"


def megadepth_name(part):
    scene, dense, stem, ext = part
    return f"a/{scene:04d}/dense{dense}/{'depths' if ext == 'h5' else 'imgs'}/{stem}_o.{ext}"


def content(name):
    return name.encode() * 3


def join(names, parse, needed, memory_bytes=150):
    """All that a joiner makes of names in this order."""
    joiner, joined = Joiner(parse, needed, Spool(memory_bytes)), []
    for name in names:
        data = content(name) if joiner.wants(name, 0) else None
        found = joiner.add(name, len(content(name)), data)
        joined += [found] if found else []
        assert joiner.spool.held_bytes <= memory_bytes
    left = joiner.leftovers()
    joiner.close()
    return joiner, joined, left


def check(names, parse, needed, pairing):
    """The joiner gives what pairing of the whole list gives, but for second files that come too late."""
    joiner, joined, left = join(names, parse, needed)
    late = {refusal.key for refusal in joiner.refused if refusal.key}
    refused = {refusal.key: (refusal.reason, sorted(refusal.files)) for refusal in pairing.refused if refusal.key}
    found = {one.candidate.key: one for one in joined}
    assert len(found) == len(joined)
    assert found.keys() == {candidate.key for candidate in pairing.candidates} | late
    for candidate in pairing.candidates:
        assert found[candidate.key].candidate == candidate
        assert found[candidate.key].payloads == {role: content(file.name) for role, file in candidate.files.items()}
    assert all(refused[key][0] == "several source files lead to this key" for key in late)
    expected = {key: refusal for key, refusal in refused.items() if key not in late}
    assert {refusal.key: (refusal.reason, sorted(refusal.files)) for refusal in left} == expected
    assert [r for r in pairing.refused if not r.key] == [r for r in joiner.refused if not r.key]
    assert joiner.skipped == pairing.skipped
    return late


@settings(max_examples=150, deadline=None)
@given(st.lists(DIODE, min_size=1, max_size=40, unique=True), st.sets(st.sampled_from(JUNK)))
def test_diode_in_any_order_gives_the_triples_of_the_whole_list(parts, junk):
    names = [diode_name(("train", "outdoor", 0, 0, ".png")), *map(diode_name, parts), *junk]
    names = list(dict.fromkeys(names))
    random.Random(len(parts)).shuffle(names)
    pairing = diode.layout("train", "outdoor").pair([SourceFile(name, len(content(name))) for name in names])
    parse = partial(diode.parse, split="train", scene_type="outdoor")
    assert check(names, parse, diode.NEEDED, pairing) == set()


@settings(max_examples=150, deadline=None)
@given(st.lists(MEGADEPTH, min_size=1, max_size=40, unique=True), st.sets(st.sampled_from(JUNK)), st.booleans())
def test_megadepth_in_any_order_gives_the_pairs_of_the_whole_list(parts, junk, with_depth):
    names = list(dict.fromkeys(["a/0000/dense0/imgs/9_o.jpg", *map(megadepth_name, parts), *junk]))
    random.Random(len(parts)).shuffle(names)
    pairing = megadepth.layout(with_depth).pair([SourceFile(name, len(content(name))) for name in names])
    check(names, partial(megadepth.parse, with_depth=with_depth), megadepth.needed(with_depth), pairing)


def test_a_second_file_refuses_the_sample_if_it_comes_in_time_and_itself_if_late():
    image, other, depth = (f"a/0001/dense0/{rest}" for rest in ("imgs/1.jpg", "imgs/1.png", "depths/1.h5"))
    parse, needed = partial(megadepth.parse, with_depth=True), megadepth.needed(True)
    joiner, joined, left = join([image, other, depth], parse, needed)
    assert (joined, joiner.refused) == ([], [])
    assert (left[0].files, left[0].reason) == ((image, other, depth), "several source files lead to this key")
    joiner, joined, left = join([image, depth, other], parse, needed)
    assert ([one.candidate.key for one in joined], left) == (["0001_dense0_1"], [])
    assert joiner.refused[0].files == (other,)
    assert "complete first" in joiner.refused[0].reason


def test_payloads_far_apart_wait_on_disk_and_come_back_whole(tmp_path):
    images = [f"a/0001/dense0/imgs/{i}.jpg" for i in range(200)]
    depths = [f"a/0001/dense0/depths/{i}.h5" for i in range(199)]
    parse, needed = partial(megadepth.parse, with_depth=True), ("image", "depth")
    with closing(Joiner(parse, needed, Spool(1000))) as waiting:
        for name in images:
            waiting.add(name, 0, content(name))
        assert sum(place.bytes for one in waiting.waiting() for _, place in one.kept) > 10 * 1000
    _, joined, left = join(images + depths, parse, needed, 1000)
    assert len(joined) == 199
    assert all(one.payloads["image"] == content(one.candidate.files["image"].name) for one in joined)
    assert [(refusal.files, refusal.reason) for refusal in left] == [((images[199],), "incomplete: no depth")]


def test_the_toy_trees_are_joined_as_they_are_paired(diode_tree, megadepth_tree):
    for root, parse, needed, pairing in (
        (diode_tree, partial(diode.parse, split="train"), diode.NEEDED, diode.layout("train").pair),
        (megadepth_tree, partial(megadepth.parse, with_depth=True), ("image", "depth"),
         megadepth.layout(True).pair),
    ):  # fmt: skip
        files = [SourceFile(file.name, len(content(file.name))) for file in FolderSource(root).list()]
        random.Random(0).shuffle(files)
        check([file.name for file in files], parse, needed, pairing(files))


def test_a_name_too_long_for_a_key_is_refused_by_name():
    name = f"a/0001/dense0/imgs/{'x' * 200}.jpg"
    joiner, joined, left = join([name], partial(megadepth.parse, with_depth=False), ("image",))
    assert (joined, left, joiner.refused[0].files) == ([], [], (name,))
