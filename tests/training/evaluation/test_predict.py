import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sharding.codecs.log16 import decode_log16
from sharding.codecs.npy import decode_npy
from sharding.errors import DataError, UsageError
from training.config import PredictConfig
from training.evaluation.baselines import RowBaseline
from training.evaluation.check import check_results
from training.evaluation.predict import Prediction, draw_view, predict_image, read_photo, run, write_prediction
from training.model.depth_unet import DepthUnet

CPU = torch.device("cpu")
GREY = np.full((4, 5, 3), 100, np.uint8)


def write(out: Path, depth: np.ndarray) -> Prediction:
    return write_prediction(
        Path("photos/x.y.jpg"), np.zeros((*depth.shape, 3), np.uint8), depth.astype(np.float32), out
    )


def test_the_16_bit_png_is_within_its_stated_error(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(0.3, 400, (40, 50)).astype(np.float32)
    depth[0, :2] = 0.3, 400
    done = write(tmp_path, depth)
    decoded = decode_log16((tmp_path / "x.y.depth.png").read_bytes())
    assert done.png_error < 6e-5
    assert np.max(np.abs(decoded / depth - 1)) <= done.png_error
    assert Image.open(tmp_path / "x.y.depth.png").mode == "I;16"


def test_depth_beyond_65_metres_neither_wraps_nor_saturates(tmp_path: Path) -> None:
    write(tmp_path, np.array([[60.0, 65.535, 66.0, 255.0, 1000.0]]))
    decoded = decode_log16((tmp_path / "x.y.depth.png").read_bytes())[0]
    assert np.all(np.diff(decoded) > 0)
    assert decoded[-1] == pytest.approx(1000, rel=1e-4)


def test_the_npy_is_exact_and_a_constant_map_can_be_written(tmp_path: Path) -> None:
    depth = np.full((3, 4), 7.25, np.float32)
    done = write(tmp_path, depth)
    assert np.array_equal(decode_npy((tmp_path / "x.y.npy").read_bytes()), depth)
    assert np.load(tmp_path / "x.y.npy").dtype == np.float32
    assert np.allclose(decode_log16((tmp_path / "x.y.depth.png").read_bytes()), depth, rtol=1e-6)
    assert (done.near_m, done.median_m, done.far_m) == (7.25, 7.25, 7.25)
    assert [Path(file).name for file in done.files] == ["x.y.npy", "x.y.depth.png", "x.y.view.png"]


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (3, 700), (900, 1200)])
def test_the_view_shows_image_depth_and_bar_for_any_shape(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (10, 200, 30), np.uint8)
    view = draw_view(image, np.linspace(1, 90, shape[0] * shape[1], dtype=np.float32).reshape(shape))
    assert view.getpixel((0, 0)) == (10, 200, 30)
    assert view.height >= 120
    assert view.width > 2 * max(1, round(640 * shape[1] / max(shape)))


def test_prediction_goes_through_the_predictor_at_native_size() -> None:
    depth = predict_image(RowBaseline(log_depth=(2.0, 0.0)), GREY[:2], CPU)
    assert depth.shape == (2, 5)
    assert depth.dtype == np.float32
    assert np.allclose(np.log(depth), [[2.0] * 5, [0.0] * 5], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (64, 96), (50, 131)])
def test_a_network_predicts_images_of_any_size(blank_unet: torch.nn.Module, shape: tuple[int, int]) -> None:
    depth = predict_image(DepthUnet(blank_unet, {"log_depth_mean": 1.0}).eval(), np.zeros((*shape, 3), np.uint8), CPU)
    assert depth.shape == shape
    assert np.allclose(depth, np.e)


def test_photos_are_read_upright_and_in_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by a quarter turn
    Image.fromarray(GREY).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(GREY[..., 0]).save(tmp_path / "grey.png")
    assert read_photo(tmp_path / "turned.jpg").shape == (5, 4, 3)
    assert np.array_equal(read_photo(tmp_path / "grey.png"), GREY)


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    os.truncate(tmp_path / "cut.png", 900)
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("cut.png", "text.jpg", "missing.jpg"):
        with pytest.raises(DataError, match=name):
            read_photo(tmp_path / name)


def test_an_image_of_levels_without_a_known_range_is_refused_and_not_black(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif: .* these are floating point; save it as such"):
        read_photo(tmp_path / "float.tif")


def test_a_16_bit_image_is_the_8_bit_one(tmp_path: Path) -> None:
    Image.fromarray(GREY[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_photo(tmp_path / "deep.png"), GREY)


@pytest.mark.timeout(20)
def test_what_is_no_file_or_too_large_a_one_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "sparse.png").write_bytes(b"")
    os.truncate(tmp_path / "sparse.png", 20 << 30)
    for name, reason in {"fifo": "it is a FIFO", "zero": "it is a device", "sparse": "found 21474836480 bytes"}.items():
        with pytest.raises(DataError, match=rf"{name}\.png: expected a readable image: {reason}"):
            read_photo(tmp_path / f"{name}.png")


def test_images_of_one_name_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    config = PredictConfig(run="none", images=("a/x.jpg", "b/x.png", "y.jpg"), out=str(tmp_path / "out"))
    with pytest.raises(UsageError, match="several images are called x,"):
        run(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", [".depth.png", ".view.png", ".npy"])
def test_a_file_of_somebody_is_not_replaced_and_results_of_an_earlier_run_are(tmp_path, ending):
    mine = tmp_path / f"a{ending}"
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"a{ending}: a result would replace it, and nothing tells that `predict`"):
        check_results(["photos/a.jpg"], str(tmp_path))
    mine.unlink()
    write_prediction(Path("photos/a.jpg"), GREY, np.full(GREY.shape[:2], 2, np.float32), tmp_path)
    check_results(["photos/a.jpg"], str(tmp_path))
    for later in (f"a{end}" for end in (".npy", ".view.png")):  # of a run that was killed
        (tmp_path / later).unlink()
        check_results(["photos/a.jpg"], str(tmp_path))


@pytest.mark.parametrize("ending", [".depth.png", ".view.png"])
def test_a_result_never_replaces_an_image(tmp_path, ending):
    folder = tmp_path / "photos"
    folder.mkdir()
    images = [str(folder / "a.jpg"), str(folder / f"a{ending}")]
    (tmp_path / "same").symlink_to("photos")
    for out in (folder, tmp_path / "same"):
        with pytest.raises(UsageError, match=f"a result of a would replace .*photos/a{ending}; give another folder"):
            check_results(images, str(out))
    check_results(images, str(tmp_path))


def test_a_run_predicts_files(make_run, diode_sets, tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "photo.jpg")
    folder = make_run("arm", 5.0, *diode_sets)
    photo, out = str(tmp_path / "photo.jpg"), tmp_path / "out"
    outcome = run(PredictConfig(run=str(folder), images=(photo,), out=str(out), accelerator="cpu"))
    assert np.allclose(np.load(out / "photo.npy"), 5.0)
    assert sorted(path.name for path in out.iterdir()) == ["photo.depth.png", "photo.npy", "photo.view.png"]
    assert "5.00 to 5.00 m" in outcome.text


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a checkpoint"):
        run(PredictConfig(run=str(tmp_path), images=("x.jpg",), out=str(tmp_path / "out"), accelerator="cpu"))
