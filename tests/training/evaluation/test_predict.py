import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sharding.cli import Outcome, main
from sharding.codecs.log16 import decode_log16
from sharding.codecs.npy import decode_npy
from sharding.errors import DataError, UsageError
from training.commands import COMMANDS
from training.config import PredictConfig
from training.evaluation.check import check_results
from training.evaluation.inputs import Input, find_inputs
from training.evaluation.predict import Prediction, draw_view, predict_inputs, run, write_prediction
from training.finetuning.finetune import init_model
from training.model.depth_unet import DepthUnet
from training.prediction.photo import Photo

GREY = np.full((4, 5, 3), 100, np.uint8)


def write(out: Path, depth: np.ndarray) -> Prediction:
    photo = Photo(image=np.zeros((*depth.shape, 3), np.uint8))
    return write_prediction(Input(Path("photos/x.y.jpg"), "x.y"), photo, depth.astype(np.float32), out)


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


@pytest.mark.parametrize("ending", [".depth.png", ".view.png", ".npy"])
def test_a_file_of_somebody_is_not_replaced_and_results_of_an_earlier_run_are(tmp_path, ending):
    image, mine = Input(Path("photos/a.jpg"), "a"), tmp_path / f"a{ending}"
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"a{ending}: a result would replace it, and nothing tells that `predict`"):
        check_results([image], str(tmp_path))
    mine.unlink()
    write_prediction(image, Photo(image=GREY), np.full(GREY.shape[:2], 2, np.float32), tmp_path)
    check_results([image], str(tmp_path))
    for later in (f"a{end}" for end in (".npy", ".view.png")):  # of a run that was killed
        (tmp_path / later).unlink()
        check_results([image], str(tmp_path))


@pytest.mark.parametrize("ending", [".depth.png", ".view.png"])
def test_a_result_never_replaces_an_image(tmp_path, ending):
    folder = tmp_path / "photos"
    folder.mkdir()
    images = [Input(folder / name, Path(name).stem) for name in ("a.jpg", f"a{ending}")]
    (tmp_path / "same").symlink_to("photos")
    for out in (folder, tmp_path / "same"):
        with pytest.raises(UsageError, match=f"a result of a would replace .*photos/a{ending}; give another folder"):
            check_results(images, str(out))
    check_results(images, str(tmp_path))


def test_depth_up_to_scale_is_never_called_metres(tmp_path: Path, capsys) -> None:
    images = [tmp_path / f"{name}.png" for name in "ab"]
    save_grey(*images)
    options = {"depth_kind": "up_to_scale", "loss": "si_log", "camera_focal_px": 500.0}
    outcome = predict(images, tmp_path / "out", options, focal_px=500.0)
    doubt = "the network was trained on depth up to scale: it predicts ratios within an image, not metres"
    for one in outcome.data["predictions"]:
        assert (one.near_m, one.median_m, one.far_m) == (None, None, None)
        assert (one.depth_kind, one.far_to_near, one.doubt) == ("up_to_scale", pytest.approx(1.0), doubt)
    assert f"{images[0]} and 1 more: {doubt}\n" in capsys.readouterr().err  # no focal length would help
    first = outcome.text.splitlines()[0]
    assert first.startswith(f"{images[0]}: up to scale, the farthest is 1 times as far as the nearest -> ")
    assert Image.open(tmp_path / "out" / "a.depth.png").info["depth_kind"] == "up_to_scale"
    assert np.allclose(decode_log16((tmp_path / "out" / "a.depth.png").read_bytes()), 8, rtol=1e-5)


def test_of_metric_depth_nothing_but_near_and_far_is_written_beside_the_codes(tmp_path: Path) -> None:
    done = write(tmp_path, np.array([[2.0, 8.0]]))
    assert set(Image.open(tmp_path / "x.y.depth.png").info) == {"near", "far"}
    assert (done.depth_kind, done.near_m, done.far_m, done.far_to_near) == ("metric", 2.0, 8.0, 4.0)


def test_the_bar_of_depth_up_to_scale_has_multiples_of_the_median() -> None:
    depth = np.geomspace(1, 100, 40 * 50, dtype=np.float32).reshape(40, 50)
    views = [np.asarray(draw_view(np.zeros((40, 50, 3), np.uint8), depth * factor, metric=False)) for factor in (1, 64)]
    assert np.array_equal(*views)
    assert not np.array_equal(views[0], np.asarray(draw_view(np.zeros((40, 50, 3), np.uint8), depth)))


class Constant(nn.Module):
    """A network that predicts the depth that the model adds, here 8 m."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1] * 0


def predict(
    images: Sequence[Path], out: Path, hyperparameters: dict[str, Any] | None = None, **options: Any
) -> Outcome:
    config = PredictConfig(run="", images=tuple(map(str, images)), out=str(out), **options)
    inputs = find_inputs(config.images, config.out)
    return predict_inputs(inputs, DepthUnet(Constant(), hyperparameters).eval(), config)


def save_grey(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(file)


def test_a_folder_keeps_its_tree_and_a_bad_image_does_not_stop_the_others(tmp_path: Path, capsys) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    save_grey(photos / "a/x.jpg", photos / "b/x.png", photos / "x.webp")
    bad = photos / "a" / "w.jpg"
    bad.write_text("no image")
    outcome = predict([photos], out)
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*.npy")) == ["a/x.npy", "b/x.npy", "x.npy"]
    assert all(np.allclose(np.load(file), 8) for file in out.rglob("*.npy"))
    assert [one.image for one in outcome.data["failures"]] == [str(bad)]
    assert "no known image format" in outcome.data["failures"][0].error
    assert outcome.error == f"1 of 4 images could not be predicted: {bad}; --json has the reasons"
    assert f"{bad}: not predicted: expected a readable image" in capsys.readouterr().err
    check_results(find_inputs([str(photos)], str(out)), str(out))  # and may be predicted again


def test_metres_that_hold_for_the_training_camera_alone_are_told_once(tmp_path: Path, capsys) -> None:
    images = [tmp_path / f"{name}.png" for name in "abc"]
    save_grey(*images)
    doubt = "its focal length is unknown, so metres hold for the training camera (focal length 500 px)"
    for hyperparameters, options in (({"camera_focal_px": 500.0}, {}), ({}, {"camera_focal_px": 500.0})):
        outcome = predict(images, tmp_path / "out", hyperparameters, **options)
        assert {(one.focal_px, one.doubt) for one in outcome.data["predictions"]} == {(None, doubt)}
        assert f"{images[0]} and 2 more: {doubt}; give --focal-px" in capsys.readouterr().err
    predict(images, tmp_path / "out", camera_focal_px=500.0, focal_px=500.0)
    assert "metres hold" not in capsys.readouterr().err


def test_an_impossible_focal_length_is_a_failure_of_the_image(tmp_path: Path) -> None:
    save_grey(tmp_path / "a.png")
    outcome = predict([tmp_path / "a.png"], tmp_path / "out", camera_focal_px=500.0, focal_px=1e6)
    assert "found 1e+06 px, which needs 0 x 0 pixels" in outcome.data["failures"][0].error
    assert outcome.data["predictions"] == []


def test_the_command_predicts_by_a_checkpoint_of_before_cameras_and_exits_with_1_after_a_bad_image(
    make_run, diode_sets, tmp_path: Path, capsys
) -> None:
    checkpoint = make_run("arm", 5.0, *diode_sets) / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    for name in ("camera_focal_px", "camera_height", "camera_width"):
        del content["hyper_parameters"][name]
    torch.save(content, checkpoint)
    save_grey(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    words = [str(checkpoint), str(tmp_path / "bad.png"), str(tmp_path / "good.png"), "--out", str(tmp_path / "out")]
    status = main("depthstream", "", COMMANDS, ["predict", *words, "--accelerator", "cpu", "--json", "--quiet"])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert status == 1
    assert [Path(one["image"]).name for one in found["failures"]] == ["bad.png"]
    assert f"1 of 2 images could not be predicted: {tmp_path / 'bad.png'}" in printed.err  # --quiet keeps errors
    assert [Path(one["image"]).name for one in found["predictions"]] == ["good.png"]
    assert "the checkpoint does not tell the focal length" in found["predictions"][0]["doubt"]
    assert np.allclose(np.load(tmp_path / "out" / "good.npy"), 5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.depth.png", "good.npy", "good.view.png"]


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    save_grey(tmp_path / "x.jpg")
    config = PredictConfig(run=str(tmp_path), images=(str(tmp_path / "x.jpg"),), out=str(tmp_path / "out"))
    with pytest.raises(DataError, match="expected a checkpoint"):
        run(config)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 20 tiles of a megapixel, on one core
def test_12_megapixels_are_predicted_in_less_than_4_gb(tmp_path: Path) -> None:
    """By a ResNet-18 on the CPU, by the command; the peak is that of its process."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((4000, 3000)).save(tmp_path / "photo.jpg")
    model = DepthUnet(init_model(encoder_name="resnet18"), {"encoder_name": "resnet18"})
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, tmp_path / "a.ckpt")
    words = [str(tmp_path / "a.ckpt"), str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "out")]
    code = (
        "import resource, sys; from training.__main__ import main; status = main(); "
        "print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", *words, "--accelerator", "cpu"], capture_output=True, text=True
    )
    status, peak_kib = map(int, done.stderr.splitlines()[-1].split())
    assert status == 0
    assert peak_kib * 1024 < 4e9
    assert np.load(tmp_path / "out" / "photo.npy", mmap_mode="r").shape == (3000, 4000)
