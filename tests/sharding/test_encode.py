import numpy as np
import pytest
from PIL import Image

from sharding import diode, megadepth
from sharding.codecs import decode_depth, decode_image, decode_valid
from sharding.encode import Recipe, encode
from sharding.errors import DataError
from sharding.source import FolderSource

EXACT, COMPACT = Recipe(dataset="megadepth"), Recipe(dataset="megadepth", preset="compact")


def encode_all(root, recipe):
    source = FolderSource(root)
    files = source.list()
    if recipe.dataset == "diode":
        candidates = diode.pair(files, "train").candidates
    else:
        candidates = megadepth.pair(files, with_depth=True).candidates
    return {candidate.key: encode(source, candidate, recipe) for candidate in candidates}


def depth_of(encoded):
    depth_ext, depth = encoded.parts["depth"]
    return decode_depth(depth, depth_ext), decode_valid(encoded.parts["valid"][1])


def test_megadepth_depth_is_classified(megadepth_source):
    kinds = {key: encoded.depth.kind for key, encoded in encode_all(megadepth_source, EXACT).items()}
    assert kinds.pop("0001_dense0_2_ordinal_o") == "ordinal"
    assert kinds.pop("0001_dense0_3_empty_b") == "none"
    assert set(kinds.values()) == {"up_to_scale"}


@pytest.mark.parametrize("recipe", [EXACT, COMPACT])
def test_ordinal_labels_are_kept_but_no_pixel_is_valid(megadepth_source, recipe):
    depth, valid = depth_of(encode_all(megadepth_source, recipe)["0001_dense0_2_ordinal_o"])
    assert set(np.unique(depth)) == {-1.0, 1.0}
    assert not valid.any()


def test_megadepth_is_valid_where_depth_is_above_zero(megadepth_source):
    encoded = encode_all(megadepth_source, EXACT)["0000_dense0_1_a_o"]
    depth, valid = depth_of(encoded)
    np.testing.assert_array_equal(depth, np.arange(192, dtype=np.float32).reshape(12, 16))
    np.testing.assert_array_equal(valid, depth > 0)
    assert encoded.depth.valid_fraction == 191 / 192
    assert (encoded.depth.depth_min, encoded.depth.depth_median, encoded.depth.depth_max) == (1, 96, 191)


def test_diode_is_valid_where_the_mask_says_so_and_depth_is_a_number(diode_source):
    # Pixel (0, 0) is masked though deep; row 11 is 0, and NaN at its start.
    for encoded in encode_all(diode_source, Recipe(dataset="diode")).values():
        depth, valid = depth_of(encoded)
        assert depth[0, 0] > 0
        assert not valid[0, 0]
        assert np.isnan(depth[11, 0])
        assert valid.sum() == 192 - 1 - 16
        assert encoded.depth.kind == "metric"
        assert encoded.depth_error == 0.0


def test_exact_keeps_image_files_bit_for_bit_and_names_them_by_content(megadepth_source):
    encoded = encode_all(megadepth_source, EXACT)
    folder = megadepth_source / "MegaDepth_v1/0001/dense0/imgs"
    for key, name, ext in [("5_grey_o", "5_grey_o.JPG", "jpg"), ("6_rgba_o", "6_rgba_o.png", "png")]:
        assert encoded[f"0001_dense0_{key}"].parts["image"] == (ext, (folder / name).read_bytes())


def test_compact_is_within_its_bound_and_says_what_was_measured(diode_source):
    for key, encoded in encode_all(diode_source, Recipe(dataset="diode", preset="compact")).items():
        depth, valid = depth_of(encoded)
        truth = np.load(next(diode_source.rglob(f"{key}_depth.npy")))[..., 0]
        error = np.abs(depth[valid].astype(float) / truth[valid] - 1).max()
        assert encoded.depth_error == pytest.approx(error)
        assert 0 < error < 1e-4
        assert encoded.parts["image"][0] == "jpg"


def test_max_side_shrinks_image_and_depth_alike_and_takes_nearest_depth(megadepth_source):
    encoded = encode_all(megadepth_source, Recipe(dataset="megadepth", max_side=8))["0000_dense0_1_a_o"]
    depth, _ = depth_of(encoded)
    assert (encoded.height, encoded.width) == depth.shape == decode_image(encoded.parts["image"][1]).shape[:2] == (6, 8)
    assert set(depth.ravel()) <= set(range(192))


def break_image(path):
    path.write_bytes(path.read_bytes()[:-200])


def break_size(path):
    Image.fromarray(np.zeros((12, 15, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"), [(break_image, "readable image"), (break_size, "12 x 15, depth is 12 x 16")]
)
def test_damage_is_refused_with_both_values(diode_source, damage, message):
    damage(next(diode_source.rglob("train/outdoor/**/*.png")))
    with pytest.raises(DataError, match=message):
        encode_all(diode_source, Recipe(dataset="diode"))


def test_a_mask_of_another_size_and_a_truncated_depth_are_refused_by_file_name(diode_source):
    mask = next(diode_source.rglob("train/outdoor/**/*_mask.npy"))
    np.save(mask, np.ones((11, 16)))
    with pytest.raises(DataError, match="mask is 11 x 16"):
        encode_all(diode_source, Recipe(dataset="diode"))
    mask.write_bytes(mask.read_bytes()[:90])
    with pytest.raises(DataError, match=mask.name):
        encode_all(diode_source, Recipe(dataset="diode"))
