import random
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.sources import diode, megadepth
from sharding.sources.folder import FolderSource
from sharding.sources.source import SourceFile

STEMS = st.tuples(
    st.sampled_from(["train", "val"]), st.sampled_from(["indoors", "outdoor"]), st.integers(0, 5), st.integers(0, 5),
    st.integers(0, 35), st.integers(0, 5),
)  # fmt: skip


def diode_files(view):
    split, kind, scene, scan, azimuth, elevation = view
    stem = f"{scene:05d}_{scan:05d}_{kind}_{azimuth * 10:03d}_{elevation * 10:03d}"
    folder = f"top/{split}/{kind}/scene_{scene:05d}/scan_{scan:05d}/{stem}"
    return [SourceFile(folder + suffix, 10) for suffix in (".png", "_depth.npy", "_depth_mask.npy")]


@given(st.sets(STEMS, min_size=1, max_size=40), st.randoms(), st.sampled_from(["train", "val"]))
def test_diode_never_pairs_across_keys_in_any_order_of_files(views, shuffler, split):
    files = [file for view in views for file in diode_files(view)]
    shuffler.shuffle(files)
    wanted = {view for view in views if view[0] == split}
    if not wanted:
        with pytest.raises(DataError, match=split):
            diode.layout(split).pair(files)
        return
    pairing = diode.layout(split).pair(files)
    assert len(pairing.candidates) == len(wanted)
    assert not pairing.refused
    assert sum(pairing.skipped.values()) == 3 * (len(views) - len(wanted))
    for candidate in pairing.candidates:
        stems = {re.sub(r"(_depth|_depth_mask)?\.(png|npy)$", "", file.name) for file in candidate.files.values()}
        assert {stem.rpartition("/")[2] for stem in stems} == {candidate.key}
        assert len(stems) == 1


@given(st.sets(STEMS, min_size=4, max_size=20), st.data())
def test_a_lost_file_costs_its_own_sample_and_no_other(views, data):
    views = sorted(view for view in {("train", *view[1:]) for view in views})
    files = [file for view in views for file in diode_files(view)]
    lost = data.draw(st.integers(0, len(files) - 1))
    pairing = diode.layout("train").pair(files[:lost] + files[lost + 1 :])
    assert len(pairing.candidates) == len(views) - 1
    (refusal,) = pairing.refused
    assert files[lost].name not in refusal.files
    assert refusal.reason == f"incomplete: no {('image', 'depth', 'mask')[lost % 3]}"


def test_diode_walks_the_files_and_skips_what_is_no_sample(diode_source):
    files = FolderSource(diode_source).list()
    random.Random(0).shuffle(files)
    pairing = diode.layout("train").pair(files)
    assert len(pairing.candidates) == 9
    assert dict(pairing.skipped) == {"AppleDouble file": 1, "normals": 1, "of val/outdoor": 6}
    assert [c.origin.scene_type for c in diode.layout("train", "indoors").pair(files).candidates] == ["indoors"] * 3


@pytest.mark.parametrize("level", [".", "train", "train/outdoor"])
def test_diode_may_be_given_at_any_level_that_still_names_the_split(diode_source, level):
    root = diode_source / level
    if level == "train/outdoor":
        with pytest.raises(DataError, match="train"):
            diode.layout("train").pair(FolderSource(root).list())
    else:
        assert len(diode.layout("train", "outdoor").pair(FolderSource(root).list()).candidates) == 6


def test_a_file_in_the_wrong_folder_is_refused_by_name():
    files = diode_files(("train", "outdoor", 1, 1, 1, 1))
    stray = SourceFile(files[0].name.replace("scan_00001", "scan_00002"), 10)
    (refusal,) = diode.layout("train").pair([*files, stray]).refused
    assert refusal.files == (stray.name,)
    assert "00001_00002_outdoor_" in refusal.reason


@pytest.mark.parametrize("above", ["images/", "depth/imgs/x.png/", "my_depth.npy/y_depth_mask.npy/"])
def test_names_of_folders_above_a_data_set_mean_nothing(above, diode_source, megadepth_source):
    for source, layout in (
        (diode_source, diode.layout("train")),
        (megadepth_source, megadepth.layout(with_depth=True)),
    ):
        files = FolderSource(source).list()
        plain = layout.pair(files).candidates
        moved = layout.pair([replace(file, name=above + file.name) for file in files]).candidates
        assert [one.key for one in moved] == [one.key for one in plain]
        for one, other in zip(moved, plain, strict=True):
            assert {role: file.name for role, file in one.files.items()} == {
                role: above + file.name for role, file in other.files.items()
            }


def test_megadepth_keys_tell_equal_stems_apart(megadepth_source):
    pairing = megadepth.layout(with_depth=True).pair(FolderSource(megadepth_source).list())
    keys = [candidate.key for candidate in pairing.candidates]
    assert [key for key in keys if key.endswith("1_a_o")] == [
        "0000_dense0_1_a_o",
        "0000_dense1_1_a_o",
        "0001_dense0_1_a_o",
    ]
    assert len(keys) == 8
    for candidate in pairing.candidates:
        image, depth = candidate.files["image"].name, candidate.files["depth"].name
        assert depth == re.sub(r"/imgs/(.*)\.\w+$", r"/depths/\1.h5", image)


def test_megadepth_without_depth_takes_the_images_and_says_what_it_left(megadepth_source):
    pairing = megadepth.layout(with_depth=False).pair(FolderSource(megadepth_source).list())
    assert {tuple(candidate.files) for candidate in pairing.candidates} == {("image",)}
    assert dict(pairing.skipped) == {"depth map (without --with-depth)": 8}


def test_an_image_and_a_depth_map_that_miss_each_other_are_both_refused(megadepth_source):
    imgs = megadepth_source / "MegaDepth_v1/0001/dense0/imgs"
    (imgs / "4_png_o.png").rename(imgs / "9_new_o.png")
    refused = megadepth.layout(with_depth=True).pair(FolderSource(megadepth_source).list()).refused
    assert {refusal.key: refusal.reason for refusal in refused} == {
        "0001_dense0_4_png_o": "incomplete: no image",
        "0001_dense0_9_new_o": "incomplete: no depth",
    }


def test_two_images_under_one_key_are_refused_together():
    files = [SourceFile(f"t/0001/dense0/imgs/1_A_o.{ext}", 1) for ext in ("jpg", "png")]
    pairing = megadepth.layout(with_depth=False).pair([*files, SourceFile("t/0001/dense0/imgs/2.jpg", 1)])
    assert [candidate.key for candidate in pairing.candidates] == ["0001_dense0_2"]
    assert pairing.refused[0].files == tuple(file.name for file in files)


def test_a_folder_without_the_data_set_is_an_error_that_names_what_was_expected(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"SCENE/denseN/imgs/\*\.jpg, found 1 not of MegaDepth.s layout"):
        megadepth.layout(with_depth=False).pair(FolderSource(tmp_path).list())
    with pytest.raises(DataError, match="found nothing"):
        FolderSource(tmp_path / "nowhere")
