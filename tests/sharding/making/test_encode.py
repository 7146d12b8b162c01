import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import sharding.making.encode
from sharding.codecs.image import decode_image, encode_jpeg
from sharding.codecs.npy import encode_npy
from sharding.codecs.parts import decode_depth, decode_valid
from sharding.errors import DataError
from sharding.making.encode import Recipe, encode
from sharding.sources import diode, megadepth
from sharding.sources.folder import FolderSource
from sharding.sources.pairing import Candidate
from sharding.sources.source import SourceFile

EXACT, COMPACT = Recipe(dataset="megadepth"), Recipe(dataset="megadepth", preset="compact")


def encode_all(root, recipe):
    source = FolderSource(root)
    files = source.list()
    if recipe.dataset == "diode":
        candidates = diode.layout("train").pair(files).candidates
    else:
        candidates = megadepth.layout(with_depth=True).pair(files).candidates
    return {candidate.key: encode(source, candidate, recipe) for candidate in candidates}


def depth_of(encoded):
    depth_ext, depth = encoded.parts["depth"]
    decoded = decode_depth(depth, depth_ext)
    return decoded, decode_valid(encoded.parts["valid"][1]) if "valid" in encoded.parts else decoded > 0


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


def test_jpeg_files_are_kept_by_both_presets_and_named_by_content(megadepth_source):
    folder = megadepth_source / "MegaDepth_v1/0001/dense0/imgs"
    for recipe in (EXACT, COMPACT):
        encoded = encode_all(megadepth_source, recipe)
        for key, name in [("5_grey_o", "5_grey_o.JPG"), ("2_ordinal_o", "2_ordinal_o.jpg")]:
            assert encoded[f"0001_dense0_{key}"].parts["image"] == ("jpg", (folder / name).read_bytes())


def test_exact_makes_a_png_rows_of_the_same_pixels(diode_source):
    for key, encoded in encode_all(diode_source, Recipe(dataset="diode")).items():
        ext, payload = encoded.parts["image"]
        assert ext == "rows.npy"
        with Image.open(next(diode_source.rglob(f"{key}.png"))) as image:
            np.testing.assert_array_equal(decode_image(payload), image)


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 4), np.uint8)


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(PIXELS[..., :3]).convert(mode) for mode in ("L", "P", "1", "LA")]
    + [Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)],
    ids=lambda image: image.mode,
)
def test_exact_keeps_the_file_of_a_png_that_is_more_or_less_than_rgb(image):
    data = image_bytes(image, "PNG")
    assert encode_alone(data, EXACT).parts["image"] == ("png", data)
    assert encode_alone(data, COMPACT).parts["image"][0] == "jpg"


def image_bytes(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class Memory:
    """Files in memory: all that encoding needs of a source."""

    def __init__(self, **files):
        self._files = files

    def read(self, name):
        return self._files[name]

    def path_of(self, name):
        return f"top/{name}"


def encode_alone(image, recipe, **files):
    source = Memory(image=image, **files)
    named = {"image": "image"} | {name.partition("_")[0]: name for name in files}
    candidate = Candidate(key="k", files={role: SourceFile(name, 0) for role, name in named.items()})
    return encode(source, candidate, recipe)


def encode_depth(depth, recipe, mask=None):
    image = image_bytes(Image.new("RGB", depth.shape[1::-1]), "PNG")
    return (
        encode_alone(image, recipe, depth_npy=encode_npy(depth))
        if mask is None
        else encode_alone(image, recipe, depth_npy=encode_npy(depth), mask_npy=encode_npy(mask))
    )


def test_a_png_too_long_for_a_jpeg_is_refused_by_compact_alone():
    for length, exts in [(65500, ["rows.npy", "jpg"]), (65501, ["rows.npy", None])]:
        png = image_bytes(Image.new("RGB", (length, 1)), "PNG")
        assert encode_alone(png, EXACT).parts["image"][0] == exts[0]
        if exts[1]:
            assert encode_alone(png, COMPACT).parts["image"][0] == exts[1]
        else:
            with pytest.raises(DataError, match="found 1 x 65501"):
                encode_alone(png, COMPACT)


JPEG = image_bytes(Image.fromarray(PIXELS[..., :3]).resize((400, 300)), "JPEG", quality=95)


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("kept", [0.5, 0.9, -2])
def test_a_truncated_jpeg_is_refused_by_both_checks(check, kept):
    cut = JPEG[: int(kept * len(JPEG)) if kept > 0 else kept]
    with pytest.raises(DataError, match="truncated"):
        encode_alone(cut, Recipe(dataset="megadepth", check=check))


def test_the_header_check_decodes_no_pixel_of_a_jpeg(monkeypatch):
    monkeypatch.setattr(sharding.making.encode, "decode_image", lambda data: pytest.fail("pixels were decoded"))
    encoded = encode_alone(JPEG, EXACT)
    assert (encoded.height, encoded.width) == (300, 400)
    assert encoded.parts["image"] == ("jpg", JPEG)


def test_damage_between_header_and_end_of_a_jpeg_is_left_to_the_check_that_decodes():
    at = JPEG.index(b"\xff\xc4") + 5
    damaged = JPEG[:at] + b"\xff" * 16 + JPEG[at + 16 :]  # lengths of Huffman codes
    assert encode_alone(damaged, EXACT).parts["image"] == ("jpg", damaged)
    with pytest.raises(DataError, match="readable image"):
        encode_alone(damaged, Recipe(dataset="megadepth", check="decode"))


def test_the_header_of_a_jpeg_says_which_size_depth_must_have():
    with pytest.raises(DataError, match="image is 300 x 400, depth is 299 x 400"):
        encode_alone(JPEG, EXACT, depth_npy=encode_npy(np.ones((299, 400), np.float32)))


TRAPS = [0.3, 1.0, 65.5, 65.536, 131.072, 256.5, 262.144, 299.98865, 299.99, 300.0, 327.68, 350.0]
TRAPS += [65.535 * k for k in range(1, 6)] + [655.35, 6553.6]


@pytest.mark.parametrize("preset", ["exact", "compact"])
@pytest.mark.parametrize("dataset", ["diode", "megadepth"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_depth_does_not_wrap(preset, dataset, dtype):
    truth = np.array([[trap for trap in TRAPS if dataset == "megadepth" or trap <= 400]], dtype)
    encoded = encode_depth(truth, Recipe(dataset=dataset, preset=preset))
    depth, valid = depth_of(encoded)
    assert valid.all()
    if preset == "exact":
        np.testing.assert_array_equal(depth, truth.astype(np.float32))
    error = np.abs(depth / truth.astype(np.float64) - 1).max()
    assert error <= 1e-4
    assert encoded.depth_error == pytest.approx(error)
    assert encoded.depth.depth_max == np.float32({"diode": 350, "megadepth": 6553.6}[dataset])


def test_compact_keeps_its_bound_for_every_distance_from_0_3_to_350_m():
    truth = np.geomspace(0.3, 350, 256 * 256).reshape(256, 256).astype(np.float32)
    encoded = encode_depth(truth, Recipe(dataset="diode", preset="compact"), np.ones((256, 256)))
    depth, valid = depth_of(encoded)
    assert valid.all()
    assert encoded.depth_error == pytest.approx(np.abs(depth / truth.astype(np.float64) - 1).max())
    assert 9e-5 < encoded.depth_error <= 1e-4


def test_compact_rounds_in_planes_what_codes_cannot_hold_within_its_bound():
    for depth in ([[1e-4, 1e3]], [[1e-40, 2e-40]], [[1e-40, 5.0]]):
        encoded = encode_depth(np.array(depth, np.float32), COMPACT)
        assert {part: encoded.parts[part][0] for part in ("depth", "valid")} == {"depth": "planes.npy", "valid": "pbm"}
        assert encoded.depth_error <= 1e-4
    assert "valid" not in encode_depth(np.array([[1e-4, 1.0]], np.float32), COMPACT).parts


def test_the_first_encodings_are_those_of_sets_made_earlier(diode_source):
    for preset, image in (("exact", "ppm"), ("compact", "jpg")):
        for encoded in encode_all(diode_source, Recipe(dataset="diode", preset=preset, encodings=1)).values():
            exts = {part: ext for part, (ext, _) in encoded.parts.items()}
            assert exts == {"image": image, "depth": "planes.npy", "valid": "npy", "meta": "json"}


@pytest.mark.parametrize("preset", ["exact", "compact"])
def test_the_valid_mask_is_exact_and_exact_keeps_what_lies_under_it(preset):
    random = np.random.default_rng(0)
    depth = random.integers(0, 2**32, (40, 30), dtype=np.uint32).view(np.float32)
    # No sensor measures beyond 400 m, but anything may lie under a mask.
    mask = ((random.random((40, 30)) < 0.5) & (np.abs(depth) < 400)).astype(np.float64)
    encoded = encode_depth(depth, Recipe(dataset="diode", preset=preset), mask)
    found, valid = depth_of(encoded)
    np.testing.assert_array_equal(valid, (mask == 1) & np.isfinite(depth) & (depth > 0))
    assert 0 < valid.mean() < 1
    if preset == "exact":
        assert found.tobytes() == depth.tobytes()
    else:
        assert not found[~valid].any()


@pytest.mark.parametrize("depth", [np.zeros((5, 4), np.float32), np.full((5, 4), np.nan, np.float32)])
@pytest.mark.parametrize("preset", ["exact", "compact"])
def test_empty_depth_is_kept_bit_for_bit(preset, depth):
    encoded = encode_depth(depth, Recipe(dataset="megadepth", preset=preset))
    found, valid = depth_of(encoded)
    assert encoded.depth.kind == "none"
    assert found.tobytes() == depth.tobytes()
    assert not valid.any()
    assert encoded.depth_error == 0


@pytest.mark.filterwarnings("error")
def test_a_float64_beyond_float32_is_refused():
    with pytest.raises(DataError, match=r"expected depth that float32 can hold, found 1e\+300 in 1 pixels"):
        encode_depth(np.array([[1e300, 2.0]]), EXACT)
    _, valid = depth_of(encode_depth(np.array([[np.inf, 2.0]]), EXACT))
    assert valid.tolist() == [[False, True]]


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


def test_a_png_that_is_small_enough_is_encoded_by_the_preset_not_as_a_shrunk_image():
    png = image_bytes(Image.fromarray(PIXELS[..., :3]), "PNG")
    shrinking = {"dataset": "megadepth", "max_side": 16, "jpeg_quality": 5, "jpeg_subsampling": "4:2:0"}
    assert encode_alone(png, Recipe(**shrinking)).parts["image"] == encode_alone(png, EXACT).parts["image"]
    compact = Recipe(preset="compact", **shrinking)
    assert encode_alone(png, compact).parts["image"] == ("jpg", encode_jpeg(PIXELS[..., :3], 5, "4:2:0"))
    first = replace(compact, encodings=1)  # the preset had a quality of its own
    assert encode_alone(png, first).parts["image"] == ("jpg", encode_jpeg(PIXELS[..., :3], 95, "4:4:4"))


@pytest.mark.parametrize("preset", ["exact", "compact"])
def test_what_is_not_compressed_is_stored_as_it_is_read(diode_source, preset):
    recipe = Recipe(dataset="diode", preset=preset)
    packed = encode_all(diode_source, recipe)
    for key, plain in encode_all(diode_source, replace(recipe, compression="none")).items():
        exts = {part: ext for part, (ext, _) in plain.parts.items()}
        if preset == "exact":
            assert exts == {"image": "ppm", "depth": "npy", "valid": "pbm", "meta": "json"}
            np.testing.assert_array_equal(*(decode_image(one.parts["image"][1]) for one in (plain, packed[key])))
            np.testing.assert_array_equal(depth_of(plain)[0].view(np.uint32), depth_of(packed[key])[0].view(np.uint32))
            np.testing.assert_array_equal(depth_of(plain)[1], depth_of(packed[key])[1])
        else:
            assert plain == packed[key]


def test_a_recipe_takes_from_the_options_of_a_set_what_its_samples_depend_on():
    depends = {
        "preset": "compact",
        "max_side": 9,
        "jpeg_quality": 7,
        "jpeg_subsampling": "4:2:2",
        "compression": "none",
    }
    expected = Recipe(dataset="megadepth", check="header", **depends)
    assert Recipe.of("megadepth", {"with_depth": True, "shard_bytes": 7} | depends) == expected
    assert Recipe.of("megadepth", {}) == EXACT


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
