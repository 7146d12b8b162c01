"""The toy world: the published layouts with their traps, exact depth, the same bytes every time."""

import dataclasses
import gzip
import re
import tarfile
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.hdf5 import read_depth
from sharding.config import ToyworldConfig
from sharding.errors import UsageError
from sharding.format.sample import valid_pixels
from sharding.toyworld import PARAMS, make_diode, make_megadepth, make_town, render, run
from sharding.toyworld.delivery import deliver
from sharding.toyworld.diode import place_view, plan_view
from sharding.toyworld.megadepth import photograph, plan_photo
from sharding.toyworld.pose import clearance
from sharding.toyworld.raycast import camera_rays, cast, focal_px

SIZE = {"height": 32, "width": 48}
DIODE = re.compile(
    r"(train|val)/(indoors|outdoor)/scene_(\d{5})/scan_(\d{5})/"
    r"\3_\4_\2_(\d{3})_(\d{3})(\.png|_depth\.npy|_depth_mask\.npy)"
)
MEGADEPTH = re.compile(
    r"phoenix/S6/zl548/MegaDepth_v1/(\d{4})/dense([0-3])/(imgs|depths)/(\d{8,11}_[0-9a-f]{10}_[ob])\.(jpg|png|h5)"
)

# What the world looked like when it was frozen: stem, valid pixels, depths of twelve pixels, mean colour of views.
PARAMS_CRC = 3777072433
TOWN = (410, [16.615298230102, 13.894293456274, 4.184459281566, 2.990925519533, 2.905802426423, 2.314972936617])
VIEWS = {
    ("train", 0): (
        "00007_00007_outdoor_350_000",
        4902,
        [
            28.19117,
            0.0,
            23.42002,
            32.85235,
            38.86914,
            24.02534,
            20.17376,
            19.9151,
            19.66879,
            10.40665,
            10.3374,
            10.27063,
        ],
        [159.36, 156.63, 157.18],
    ),
    ("train", 5): (
        "00000_00000_indoors_340_000",
        6144,
        [2.51317, 5.79757, 4.95516, 2.47487, 4.47381, 4.79483, 2.45926, 4.40517, 1.74016, 2.43012, 2.59546, 2.37267],
        [148.9, 148.83, 137.3],
    ),
    ("val", 3): (
        "00022_00022_outdoor_130_010",
        3362,
        [0.0, 0.0, 0.0, 0.0, 74.52209, 61.99949, 78.02077, 45.35841, 32.19418, 24.27858, 19.83415, 16.82567],
        [173.21, 174.41, 174.45],
    ),
}


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def diode(tmp_path_factory):
    root = tmp_path_factory.mktemp("diode")
    return root, make_diode(root, images=48, **SIZE)


@pytest.fixture(scope="module")
def megadepth(tmp_path_factory):
    root = tmp_path_factory.mktemp("megadepth")
    return root, make_megadepth(root, images=24, **SIZE)


def views_of(root, split, kind="*"):
    """Yield stem, depth (H, W, 1) and mask of each view."""
    for path in sorted(root.glob(f"{split}/{kind}/*/*/*_depth.npy")):
        yield (
            path.name.removesuffix("_depth.npy"),
            np.load(path),
            np.load(path.with_name(path.name.replace("_depth", "_depth_mask"))),
        )


# What it is made of


def test_parameters_are_frozen():
    # Whoever changes the world must also void every number that was measured on it: see `Params`.
    assert zlib.crc32(repr(PARAMS).encode()) == PARAMS_CRC


def test_golden_geometry():
    town = make_town(0, 0, 7)
    assert len(town.solids) == TOWN[0]
    assert [*town.solids.centre.mean(axis=0), *town.solids.half.mean(axis=0)] == pytest.approx(TOWN[1], rel=1e-9)


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 5), ("val", 3)])
def test_golden_view(split, number):
    scene, camera, stem = place_view(plan_view(split, number), seed=0)
    view = render(scene, camera, 64, 96)
    samples = [float(view.depth[row, column]) for row in (10, 34, 44, 63) for column in (5, 48, 90)]
    expected = VIEWS[split, number]
    assert (stem, int(view.valid.sum())) == expected[:2]
    assert samples == pytest.approx(expected[2], rel=1e-5)
    assert view.image.mean(axis=(0, 1)).tolist() == pytest.approx(expected[3], abs=0.05)


def test_cameras_cover_their_ranges():
    cameras = [
        place_view(plan_view("train", number), seed=0)[1]
        for number in range(96)
        if plan_view("train", number).kind == "outdoor"
    ]
    heights, pitches, rolls = (
        np.array([getattr(c, name) for c in cameras]) for name in ("height_m", "pitch_deg", "roll_deg")
    )
    assert heights.min() >= 1.0
    assert heights.max() <= 20.0
    assert heights.min() < 1.2
    assert heights.max() > 10.0
    horizon = 0.5 + np.tan(np.deg2rad(pitches)) * focal_px(2, 3) / 2
    assert 0.24 < horizon.min() < 0.32
    assert 0.58 < horizon.max() < 0.67
    assert rolls.min() < -8
    assert rolls.max() > 8


def test_scenes_differ_in_haze_and_sun():
    lights = [make_town(0, 0, number).light for number in range(7, 19)]
    assert 0 < sum(light.haze_per_m == 0 for light in lights) < 12
    assert 0 < sum(max(light.direct) == 0 for light in lights) < 12
    assert len({light.sun for light in lights}) == 12


@pytest.mark.parametrize("number", range(0, 40, 7))
def test_cameras_stand_clear_of_solids(number):
    scene, camera, _ = place_view(plan_view("train", number), seed=1)
    least = PARAMS.room_clearance_m if scene.room else PARAMS.clearance_m
    assert clearance(scene, (camera.x_m, camera.y_m, camera.height_m)) >= least
    assert clearance(scene, tuple(scene.solids.centre[0])) < 0


def abs_rel(prediction, views):
    """Mean over views of |prediction - depth| / depth over valid pixels."""
    errors = []
    for depth, valid in views:
        guess = np.broadcast_to(prediction, depth.shape)[valid]
        errors.append(np.mean(np.abs(guess - depth[valid]) / depth[valid]))
    return float(np.mean(errors))


def cast_views(split, count):
    """Depth and valid of the outdoor views among the first `count`, without painting them."""
    for number in range(count):
        if plan_view(split, number).kind == "outdoor":
            scene, camera, _ = place_view(plan_view(split, number), seed=0)
            depth = cast(scene, camera_rays(camera, 16, 24)).depth
            yield depth, depth <= PARAMS.max_range_m


@pytest.mark.slow
def test_image_row_tells_depth_but_not_all_of_it():
    train, val = list(cast_views("train", 96)), list(cast_views("val", 32))
    constant = np.median(np.concatenate([depth[valid] for depth, valid in train]))
    logs = sum(np.log(np.where(valid, depth, 1)).sum(axis=1) for depth, valid in train)
    row = np.exp(logs / sum(valid.sum(axis=1) for _, valid in train))[:, None]
    assert 0.8 < abs_rel(constant, val) < 1.0
    assert 0.5 < abs_rel(row, val) < 0.65


# DIODE


def test_diode_files_have_the_published_names(diode):
    root, counts = diode
    views = defaultdict(set)
    for name in contents(root):
        found = DIODE.fullmatch(name)
        if not found:
            assert re.search(r"/\._|_normal\.npy$", name), name
            continue
        assert int(found[5]) in range(0, 360, 10)
        assert int(found[6]) in range(0, 60, 10)
        views[Path(name).name.removesuffix(found[7])].add(found[7])
    assert all(parts == {".png", "_depth.npy", "_depth_mask.npy"} for parts in views.values())
    assert len(views) == 48 + 9 == counts["train"] + counts["val"]


def test_diode_splits_share_no_scene(diode):
    root, _ = diode
    train, val = ({path.name for path in root.glob(f"{split}/*/scene_*")} for split in ("train", "val"))
    assert not train & val
    assert {name for name in train if (root / "train/outdoor" / name).exists()} == {
        f"scene_{n:05d}" for n in range(7, 19)
    }
    assert {path.name for path in root.glob("val/outdoor/scene_*")} == {f"scene_{n:05d}" for n in (22, 23, 24)}
    assert not np.array_equal(make_town(0, 0, 7).solids.centre[:5], make_town(0, 0, 22).solids.centre[:5])


def test_diode_has_an_eighth_indoors(diode):
    root, counts = diode
    assert counts["indoors"] == 7 == len(list(root.glob("*/indoors/*/*/*_depth.npy")))
    indoors = np.concatenate([depth[mask > 0.5] for _, depth, mask in views_of(root, "*", "indoors")])
    assert 1 < np.median(indoors) < 6
    assert indoors.max() < 15


def test_diode_arrays_have_the_published_types(diode):
    dtypes = Counter()
    for _, depth, mask in views_of(diode[0], "*"):
        assert depth.shape == (32, 48, 1)
        assert depth.dtype == np.dtype("<f4")
        assert mask.shape == (32, 48)
        assert set(np.unique(mask)) <= {0.0, 1.0}
        dtypes[mask.dtype.str] += 1
    assert dtypes == {"<f4": 38, "<f8": 19}


def test_every_diode_trap_is_laid_as_often_as_counted(diode):
    root, counts = diode
    found = Counter()
    for _, depth, mask in views_of(root, "*"):
        flat, masked = depth[..., 0], mask < 0.5
        found["depth_under_mask"] += bool((flat[masked] > 0).any())
        found["nan_under_mask"] += bool(np.isnan(flat[masked]).any())
        found["mask_without_depth"] += bool((flat[~masked] == 0).any())
        assert np.isfinite(flat[~masked]).all()
    assert found == {name: counts[name] for name in found}
    assert found["nan_under_mask"] == 7
    assert found["mask_without_depth"] == 7
    assert found["depth_under_mask"] > 40
    assert len(list(root.rglob("._*"))) == counts["apple_double"] == 2
    assert len(list(root.rglob("*_normal.npy"))) == counts["normals"] == 2


def test_diode_depth_is_exact_where_the_rule_says_valid(diode):
    for split, total in (("train", 48), ("val", 9)):
        stored = {stem: (depth[..., 0], mask) for stem, depth, mask in views_of(diode[0], split)}
        for number in range(0, total, 4):
            scene, camera, stem = place_view(plan_view(split, number), seed=0)
            view = render(scene, camera, 32, 48)
            valid = valid_pixels(*stored[stem])
            assert valid.sum() > 0.95 * view.valid.sum()
            assert not (valid & ~view.valid).any()
            np.testing.assert_array_equal(stored[stem][0][valid], view.depth[valid])


def test_outdoor_depth_is_deep_and_sky_has_no_return(diode):
    depths, shares = [], []
    for _, depth, mask in views_of(diode[0], "train", "outdoor"):
        valid = valid_pixels(depth[..., 0], mask)
        depths.append(depth[valid])
        shares.append(valid.mean())
    deep = np.concatenate(depths)
    assert 250 < deep.max() <= 300
    assert deep.min() > 0.6
    assert 0.6 < np.mean(shares) < 0.8


# MegaDepth


def test_megadepth_files_have_the_published_names_and_pair_up(megadepth):
    root, counts = megadepth
    parts = defaultdict(set)
    for name in contents(root):
        scene, dense, folder, stem, extension = MEGADEPTH.fullmatch(name).groups()
        assert (folder == "depths") == (extension == "h5")
        parts[scene, dense, stem].add(folder)
    assert all(found == {"imgs", "depths"} for found in parts.values())
    assert len(parts) == counts["images"] == 24
    assert len({scene for scene, _, _ in parts}) == 4
    assert len({(scene, dense) for scene, dense, _ in parts}) == 7


def test_megadepth_stems_repeat_within_and_across_scenes(megadepth):
    folders = defaultdict(list)
    for path in sorted(megadepth[0].rglob("*.h5")):
        folders[path.stem].append(path.parts[-4:-2])
    twins = [places for places in folders.values() if len(places) > 1]
    assert len(twins) == megadepth[1]["twin"] == 2
    assert sorted(len({scene for scene, _ in places}) for places in twins) == [1, 2]


def test_every_megadepth_image_trap_is_laid(megadepth):
    root, counts = megadepth
    found, tall = Counter(), 0
    for path in sorted(root.rglob("imgs/*")):
        with Image.open(path) as image:
            found[image.mode, path.suffix] += 1
            tall += image.height > image.width
            assert read_depth(root / path.parent.parent / "depths" / f"{path.stem}.h5").shape == (
                image.height,
                image.width,
            )
    assert found == {("RGB", ".jpg"): 20, ("L", ".jpg"): 2, ("RGBA", ".png"): 1, ("RGB", ".png"): 1}
    assert tall == counts["portrait"] == 2


def test_megadepth_depth_is_of_three_kinds(megadepth):
    root, counts = megadepth
    kinds = Counter()
    for path in root.rglob("*.h5"):
        depth = read_depth(path)
        kinds["ordinal" if depth.min() < 0 else "up_to_scale" if depth.any() else "empty"] += 1
    assert kinds == {kind: counts[kind] for kind in kinds} == {"up_to_scale": 18, "ordinal": 5, "empty": 1}


def test_megadepth_depth_is_exact_up_to_one_scale_a_reconstruction(megadepth):
    root, _ = megadepth
    scales = defaultdict(list)
    for number in range(24):
        photo = plan_photo(0, number)
        if photo.kind == "up_to_scale":
            view = photograph(photo, 0, **SIZE)
            depth = read_depth(root / photo.folder / "depths" / f"{photo.stem}.h5")
            known = depth > 0
            assert 0.3 < known.sum() / view.valid.sum() < 1
            ratio = depth[known] / view.depth[known]
            assert np.ptp(ratio) < 1e-5 * ratio.mean()
            scales[photo.scene, photo.dense].append(float(ratio.mean()))
    assert all(np.ptp(found) < 1e-5 * found[0] for found in scales.values())
    assert len({round(found[0], 4) for found in scales.values()}) == len(scales) > 3


def test_ordinal_labels_put_the_far_below_the_near(megadepth):
    photo = plan_photo(0, 2)
    assert photo.kind == "ordinal"
    labels = read_depth(megadepth[0] / photo.folder / "depths" / f"{photo.stem}.h5")
    view = photograph(photo, 0, **SIZE)
    assert set(np.unique(labels)) == {-1.0, 0.0, 1.0}
    assert view.depth[labels > 0].max() < view.depth[(labels < 0) & view.valid].min()


# Delivery


@pytest.mark.parametrize("make", [make_diode, make_megadepth])
def test_view_is_the_same_bytes_in_a_set_of_any_size(make, diode, megadepth, tmp_path):
    whole = contents(diode[0] if make is make_diode else megadepth[0])
    make(tmp_path, images=10, **SIZE)
    part = contents(tmp_path)
    assert len(part) >= 20
    assert part == {name: whole[name] for name in part}


@pytest.mark.parametrize("make", [make_diode, make_megadepth])
def test_other_seed_gives_another_world(make, tmp_path):
    make(tmp_path / "a", images=2, seed=0, **SIZE)
    make(tmp_path / "b", images=2, seed=1, **SIZE)
    files = (
        {data for name, data in contents(tmp_path / part).items() if "normal" not in name and "._" not in name}
        for part in "ab"
    )
    assert not set.intersection(*files)


def test_archives_hold_the_same_files_in_disorder(diode, megadepth, tmp_path):
    make_diode(tmp_path, images=10, archive=True, **SIZE)
    make_megadepth(tmp_path, images=10, archive=True, **SIZE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MegaDepth_v1.tar.gz", "train.tar.gz", "val.tar.gz"]
    held = {}
    for archive in tmp_path.iterdir():
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            files = [member for member in members if member.isfile()]
            held |= {member.name: tar.extractfile(member).read() for member in files}
        assert all(member.isdir() or member.isfile() for member in members)
        assert {member.mtime for member in members} == {0}
        assert [member.name for member in files] != sorted(member.name for member in files)
        places = {member.name: place for place, member in enumerate(members)}
        assert all(places[str(Path(name).parent)] < place for name, place in places.items() if "/" in name)
    whole = contents(diode[0]) | contents(megadepth[0])
    assert len(held) == 60
    assert held == {name: whole[name] for name in held}


@pytest.mark.parametrize("make", [make_diode, make_megadepth])
def test_archive_is_the_same_bytes_every_time(make, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, images=3, archive=True, **SIZE)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for archive in (tmp_path / "a").iterdir():
        with gzip.open(archive) as file:
            file.read(1)
            assert file.mtime == 0


def test_result_that_exists_is_never_overwritten(tmp_path):
    (tmp_path / "val").mkdir()
    with pytest.raises(UsageError, match="already holds val; remove it"):
        make_diode(tmp_path, images=1, **SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["val"]


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        make_megadepth(tmp_path / "out", images=1, **SIZE)


def test_interrupted_work_leaves_nothing_behind(tmp_path):
    def build(root):
        (root / "train").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(tmp_path, ["train"], build)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"images": 0}, {"height": 15}, {"width": 8}, {"seed": -1}])
@pytest.mark.parametrize("layout", ["diode", "megadepth"])
def test_senseless_request_is_refused_before_work(tmp_path, layout, wrong):
    config = ToyworldConfig(out=str(tmp_path / "out"), layout=layout, images=1)
    with pytest.raises(UsageError, match="expected"):
        run(dataclasses.replace(config, **wrong))
    assert not (tmp_path / "out").exists()


def test_command_reports_what_it_wrote(tmp_path):
    outcome = run(ToyworldConfig(out=str(tmp_path), layout="megadepth", images=2, **SIZE))
    assert outcome.ok
    assert outcome.data["counts"]["images"] == 2 == len(list(tmp_path.rglob("imgs/*")))
    assert "2 images" in outcome.text
