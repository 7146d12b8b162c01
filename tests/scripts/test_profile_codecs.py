import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts/profile_codecs.py"
SMALL = ("--height", "48", "--width", "64", "--samples", "2", "--repeats", "2")
FOREIGN = {"QOI", "JXL lossless e1", "JXL lossless e3", "LERC lossless", "LERC of log"}


def call(*argv, cwd=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, SCRIPT, *argv], capture_output=True, text=True, timeout=120, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photographs, one too small, and depth of both kinds."""
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (70, 60), "b.jpg": (64, 48), "small.png": (40, 40)}.items():
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / name)
    depth = rng.uniform(0.3, 350, (30, 40)).astype(np.float32)
    depth[0, :3] = 0, np.nan, 350
    np.save(folder / "laser.npy", depth)
    Image.fromarray((rng.uniform(1, 250, (20, 30)) * 256).astype(np.uint16)).save(folder / "lidar.png")
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    photographs = ("--images", "a.png", "b.jpg", "small.png")
    done = call(*SMALL, *photographs, "--depth", "laser.npy", "lidar.png:256", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(measured):
    return {
        (group["part"], group["name"], name): row for group in measured["groups"] for name, row in group["rows"].items()
    }


def test_every_group_is_measured_and_too_small_photographs_are_left_out(measured):
    counts = {(group["part"], group["name"]): group["items"] for group in measured["groups"]}
    images = {("image", name): 2 for name in ("toy world", "photographs", "photographs + noise")}
    depth = {"toy world": 2, "toy world + 1 mm": 2, "laser": 1, "lidar": 1}
    assert counts == images | {(part, name): items for part in ("depth", "valid") for name, items in depth.items()}


def test_what_is_called_exact_is_exact_on_every_group_and_rounding_is_not(measured):
    for (part, _, name), row in rows(measured).items():
        if not row.get("missing") and not name.startswith("LERC"):
            lossless = not name.startswith(("JPEG", "rounded", "log16", "LERC of", "float16"))
            assert row["exact"] == lossless, (part, name)
            assert lossless <= (row["error"] == 0), (part, name)


def test_errors_of_depth_are_within_what_the_encodings_promise(measured):
    for (part, _, name), row in rows(measured).items():
        if part == "depth" and name.startswith(("rounded", "log16")):
            assert 1e-6 < row["error"] <= 1e-4
        if part == "depth" and name == "float16":
            assert 1e-4 < row["error"] < 5e-4


def test_times_have_their_repeats_and_a_missing_library_is_named(measured):
    for (_, _, name), row in rows(measured).items():
        if row.get("missing"):
            assert name in FOREIGN
        else:
            assert len(row["encode_ms"]) == len(row["decode_ms"]) == 2
            assert min(row["encode_ms"] + row["decode_ms"]) >= 0
            assert row["kilobytes"] > 0


def test_pairs_are_held_against_the_bounds_of_their_preset(measured):
    pairs = {(pair["image"], pair["depth"]): pair for pair in measured["pairs"]}
    assert pairs["rows", "byte planes"]["of_exact"] == [1, 1]
    assert ("JPEG q95", "npy") not in pairs
    assert ("JPEG q95", "float16") not in pairs
    for pair in pairs.values():
        if pair["preset"] == "exact":
            assert pair["error"] == 0
            assert pair["holds"] == (pair["faster"][0] >= 3 and pair["of_archive"][1] <= 1.15)
        else:
            assert pair["error"] <= 1e-4
            assert pair["holds"] == (pair["of_exact"][1] <= 0.40)


def test_how_much_faster_a_pair_is_follows_from_the_medians_of_its_parts(measured):
    found = rows(measured)

    def total(image, depth, valid, view):
        parts = ("image", view[0], image), ("depth", view[1], depth), ("valid", view[1], valid)
        return sum(median(found[part]["decode_ms"]) for part in parts)

    toy = [("toy world", "toy world"), ("toy world", "toy world + 1 mm")]
    views = toy + list(product(("photographs", "photographs + noise"), ("laser", "lidar")))
    ratios = [total("PNG", "npy", "mask npy", view) / total("rows", "byte planes", "PBM", view) for view in views]
    pair = next(one for one in measured["pairs"] if (one["image"], one["depth"]) == ("rows", "byte planes"))
    assert pair["faster"] == pytest.approx([min(ratios), max(ratios)])
    assert [one["faster"] for one in measured["presets"] if one["preset"] == "exact"] == pytest.approx(ratios)


def test_bytes_are_those_of_the_frame_a_shard_would_hold(measured):
    image = next(group for group in measured["groups"] if group["name"] == "photographs")
    assert image["rows"]["PPM"]["kilobytes"] == pytest.approx(48 * 64 * 3 / 1000, rel=0.1)  # noise does not compress


def test_a_person_gets_a_table():
    done = call("--height", "32", "--width", "32", "--samples", "1", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert "depth: toy world + 1 mm (1 measured; in the archive" in done.stdout
    assert "exact    rows + byte planes" in done.stdout


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (("--images", "nothing*.png"), 2, "nothing*.png: expected files, found none"),
        (("--depth", "lidar.png"), 2, "expected units a metre after the pattern"),
        (("--depth", "empty.npy"), 1, "with depth above 0"),
        (("--samples", "0"), 2, "samples: expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_named(folder, argv, status, message):
    np.save(folder / "empty.npy", np.zeros((4, 4), np.float32))
    done = call("--height", "32", "--width", "32", "--repeats", "1", *argv, cwd=folder)
    assert done.returncode == status
    assert message in done.stderr


def test_help_has_examples():
    done = call("--help")
    assert done.returncode == 0
    assert "python scripts/profile_codecs.py --images" in done.stdout
