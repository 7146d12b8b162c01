from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from sharding.errors import DataError, UsageError
from training.config import ExportConfig
from training.evaluation.check import ONNX_START, check_export
from training.evaluation.export import SIZES_PX, compare_with, require_agreement, run, to_onnx
from training.finetuning.finetune import init_model
from training.model.depth_range import MAX_DEPTH_M
from training.model.depth_unet import DepthUnet


class Halving(nn.Module):
    """A network with what a U-Net needs: a stride, an enlargement, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 32, 3, padding=1)
        self.last = nn.Conv2d(11, 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = nn.functional.pixel_shuffle(self.up(self.down(image).relu()), 2)
        return self.last(torch.cat([image, features], 1))


class Far(nn.Module):
    """A network whose answer is beyond the range of depth."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1] * 0 + 100


@pytest.fixture(scope="module")
def small() -> DepthUnet:
    torch.manual_seed(0)
    return DepthUnet(Halving(), {"camera_focal_px": 1323.0}).eval()


@pytest.fixture(scope="module")
def exported(small: DepthUnet) -> bytes:
    return to_onnx(small)


def run_onnx(content: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def check_sizes(model: DepthUnet, content: bytes) -> None:
    for shape in ((1, 32, 64), (2, 128, 96), (1, 352, 224)):
        image = np.random.default_rng(1).integers(0, 256, (shape[0], 3, *shape[1:]), dtype=np.uint8)
        wanted = model.predict_depth(torch.from_numpy(image)).numpy()
        depth = run_onnx(content, image)
        assert depth.dtype == np.float32
        assert depth.shape == (shape[0], 1, *shape[1:])
        assert wanted.std() / wanted.mean() > 0.01
        assert np.abs(depth / wanted - 1).max() < 1e-3


def test_the_file_predicts_what_the_network_predicts_at_any_multiple_of_32(small, exported) -> None:
    check_sizes(small, exported)
    found = compare_with(small, exported)
    assert [(one.height, one.width) for one in found[::2]] == list(SIZES_PX)
    assert [one.image for one in found] == ["noise", "picture"] * 3
    require_agreement(found)


@pytest.mark.parametrize("shape", [(100, 128), (128, 100), (33, 32)])
def test_another_size_is_an_error_that_says_so(exported: bytes, shape: tuple[int, int]) -> None:
    with pytest.raises(Exception, match="height_and_width_must_be_multiples_of_32"):
        run_onnx(exported, np.zeros((1, 3, *shape), np.uint8))


def test_the_file_is_valid_and_tells_what_it_takes_and_of_which_camera(exported: bytes) -> None:
    graph = onnx.load_from_string(exported)
    onnx.checker.check_model(graph, full_check=True)
    assert "multiples of 32" in graph.doc_string
    assert {one.key: one.value for one in graph.metadata_props}["camera_focal_px"] == "1323.0"
    assert exported.startswith(ONNX_START)


@pytest.mark.parametrize(("scale", "sides"), [(0.5, [(64, 128), (192, 65)]), (0.37, [(86, 173), (259, 87)])])
def test_a_network_of_a_lower_resolution_takes_images_of_their_own_size(scale: float, sides: list) -> None:
    torch.manual_seed(0)
    model = DepthUnet(Halving(), {"scale": scale}).eval()
    content = to_onnx(model)
    require_agreement(compare_with(model, content))
    for height, width in sides:
        image = np.random.default_rng(1).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
        wanted = model.predict_depth(torch.from_numpy(image)).numpy()
        assert wanted.std() / wanted.mean() > 0.01
        assert np.abs(run_onnx(content, image) / wanted - 1).max() < 1e-5
    with pytest.raises(Exception, match="height_and_width_times_the_scale_must_be_multiples_of_32"):
        run_onnx(content, np.zeros((1, 3, sides[0][0] + 3, sides[0][1]), np.uint8))
    graph = onnx.load_from_string(content)
    assert f"height and width times {scale}, rounded, multiples of 32" in graph.doc_string
    assert {one.key: one.value for one in graph.metadata_props}["scale"] == str(scale)


def test_depth_up_to_scale_is_not_called_metres(tmp_path: Path, monkeypatch) -> None:
    model = DepthUnet(Halving(), {"depth_kind": "up_to_scale", "loss": "si_log"}).eval()
    monkeypatch.setattr(DepthUnet, "load", lambda source: model)
    (tmp_path / "a.ckpt").touch()
    outcome = run(ExportConfig(run=str(tmp_path / "a.ckpt"), onnx=str(tmp_path / "a.onnx")))
    doc = onnx.load(tmp_path / "a.onnx").doc_string
    for said in (doc, outcome.text):
        assert "up to scale: ratios within an image, not metres" in said
    assert (outcome.data["depth_kind"], outcome.data["scale"]) == ("up_to_scale", 1.0)


def test_depth_is_clamped_as_the_network_clamps_it() -> None:
    depth = run_onnx(to_onnx(DepthUnet(Far()).eval()), np.zeros((1, 3, 32, 32), np.uint8))
    assert np.allclose(depth, MAX_DEPTH_M)


def test_a_file_that_differs_from_the_network_is_refused(small: DepthUnet) -> None:
    found = compare_with(small, to_onnx(DepthUnet(Far()).eval()))
    with pytest.raises(DataError, match=r"depth differs from the network's by .* on .* expected at most 0\.001"):
        require_agreement(found)


def test_the_check_names_what_is_missing_or_would_be_replaced(exported: bytes, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "text.onnx").write_text("mine")
    (tmp_path / "a.onnx").write_bytes(exported)
    config = ExportConfig(run=str(tmp_path / "a.ckpt"), onnx=str(tmp_path / "a.onnx"))
    check_export(config)
    with pytest.raises(UsageError, match="expected a checkpoint"):
        check_export(replace(config, run=str(tmp_path)))
    with pytest.raises(UsageError, match="an ONNX file would replace a file of another kind"):
        check_export(replace(config, onnx=str(tmp_path / "text.onnx")))
    with pytest.raises(UsageError, match=r"a\.png: expected a file name that ends in \.onnx"):
        check_export(replace(config, onnx=str(tmp_path / "a.png")))
    monkeypatch.setattr("training.evaluation.check.find_spec", lambda name: None)  # not installed
    with pytest.raises(UsageError, match=r"needs onnx and onnxruntime: .* pip install '\.\[export\]'"):
        check_export(config)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])  # that of ResNet-50 has 1.4 GB
def test_the_command_exports_a_u_net(encoder: str, tmp_path: Path) -> None:
    """Of random weights, with the BatchNorm statistics of noise."""
    model = DepthUnet(init_model(encoder_name=encoder), {"encoder_name": encoder})
    torch.manual_seed(0)
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content, tmp_path / "a.ckpt")
    outcome = run(ExportConfig(run=str(tmp_path / "a.ckpt"), onnx=str(tmp_path / "a.onnx")))
    assert outcome.data["bytes"] == (tmp_path / "a.onnx").stat().st_size
    check_sizes(model.eval(), (tmp_path / "a.onnx").read_bytes())
    with pytest.raises(Exception, match="height_and_width_must_be_multiples_of_32"):
        run_onnx((tmp_path / "a.onnx").read_bytes(), np.zeros((1, 3, 48, 64), np.uint8))
