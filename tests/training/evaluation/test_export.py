from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from sharding.errors import DataError, UsageError
from training.config import ExportConfig
from training.evaluation import export
from training.evaluation.check import check_export
from training.finetuning.finetune import init_model
from training.model.depth_unet import MAX_DEPTH_M, DepthUnet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 U-Net of random weights, with the BatchNorm statistics of a batch of noise."""
    model = DepthUnet(init_model(encoder_name="resnet18"), {"encoder_name": "resnet18", "camera_focal_px": 1323.0})
    torch.manual_seed(0)
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    file = tmp_path_factory.mktemp("export") / "a.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, file)
    return file


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    file = checkpoint.with_suffix(".onnx")
    outcome = export.run(ExportConfig(run=str(checkpoint), onnx=str(file)))
    assert outcome.data["bytes"] == file.stat().st_size
    assert [(one.height, one.width) for one in outcome.data["agreement"][::2]] == list(export.SIZES_PX)
    return file


def run_onnx(file: Path, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("shape", [(1, 32, 64), (2, 128, 96), (1, 352, 224)])
def test_the_file_predicts_what_the_network_predicts_at_any_multiple_of_32(checkpoint, exported, shape) -> None:
    image = np.random.default_rng(1).integers(0, 256, (shape[0], 3, *shape[1:]), dtype=np.uint8)
    wanted = DepthUnet.load(checkpoint).predict_depth(torch.from_numpy(image)).numpy()
    depth = run_onnx(exported, image)
    assert depth.dtype == np.float32
    assert depth.shape == (shape[0], 1, *shape[1:])
    assert wanted.std() / wanted.mean() > 0.01
    assert np.abs(depth / wanted - 1).max() < 1e-3


@pytest.mark.parametrize("shape", [(100, 128), (128, 100), (33, 32)])
def test_another_size_is_an_error_that_says_so(exported: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(Exception, match="height_and_width_must_be_multiples_of_32"):
        run_onnx(exported, np.zeros((1, 3, *shape), np.uint8))


def test_the_file_is_valid_and_tells_what_it_takes_and_of_which_camera(exported: Path) -> None:
    graph = onnx.load(exported)
    onnx.checker.check_model(graph, full_check=True)
    assert "multiples of 32" in graph.doc_string
    assert {one.key: one.value for one in graph.metadata_props}["camera_focal_px"] == "1323.0"
    assert exported.read_bytes().startswith(check_export.__globals__["ONNX_START"])


class Far(nn.Module):
    """A network whose answer is beyond the range of depth."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1] * 0 + 100


def test_depth_is_clamped_as_the_network_clamps_it(tmp_path: Path) -> None:
    (tmp_path / "far.onnx").write_bytes(export.to_onnx(DepthUnet(Far()).eval()))
    assert np.allclose(run_onnx(tmp_path / "far.onnx", np.zeros((1, 3, 32, 32), np.uint8)), MAX_DEPTH_M)


def test_a_file_that_differs_from_the_network_is_not_written(checkpoint, tmp_path: Path, monkeypatch) -> None:
    other = export.to_onnx(DepthUnet(Far()).eval())
    monkeypatch.setattr(export, "to_onnx", lambda model: other)  # an exporter that is wrong
    with pytest.raises(
        DataError, match=r"not written: its depth differs from the network's by .* expected at most 0.001"
    ):
        export.run(ExportConfig(run=str(checkpoint), onnx=str(tmp_path / "a.onnx")))
    assert not (tmp_path / "a.onnx").exists()


def test_the_check_names_what_is_missing_or_would_be_replaced(
    checkpoint, exported, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(UsageError, match="expected a checkpoint"):
        check_export(ExportConfig(run=str(tmp_path), onnx=str(tmp_path / "a.onnx")))
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="an ONNX file would replace a file of another kind"):
        check_export(ExportConfig(run=str(checkpoint), onnx=str(tmp_path / "a.txt")))
    check_export(ExportConfig(run=str(checkpoint), onnx=str(exported)))
    monkeypatch.setattr("training.evaluation.check.find_spec", lambda name: None)  # not installed
    with pytest.raises(UsageError, match=r"needs onnx and onnxruntime: .* pip install '\.\[export\]'"):
        check_export(ExportConfig(run=str(checkpoint), onnx=str(exported)))
