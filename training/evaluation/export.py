"""`depthstream export`: the network of a checkpoint as an ONNX file, which other programs run without torch.

    image   uint8 (batch, 3, height, width), RGB; height and width are any multiples of 32
    depth   float32 (batch, 1, height, width), metres, clamped as `DepthUnet.predict_depth` does

Normalisation and exp are part of the graph. ONNX has no assertion, so the graph begins by folding the image into blocks
of 32 x 32 and back, which changes nothing and costs no copy: for another size that step fails, and is named
`height_and_width_must_be_multiples_of_32` in the error of the program that runs it.

A network that works at a scale below 1 shrinks the image first, and enlarges log depth last: both are part of the
graph, too. Height and width times the scale, rounded, must then be multiples of 32, and the name of the step says so.

The only module that imports onnx and onnxruntime.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sharding.cli import Outcome
from sharding.errors import DataError
from sharding.machine.files import write_through_links
from training.config import ExportConfig
from training.evaluation.selection import say_selection
from training.model.depth_range import depth_from_log
from training.model.depth_unet import DepthUnet
from training.network.resolution import enlarge, shrink
from training.runfolder import find_checkpoint

SIZES_PX = ((96, 128), (160, 64), (224, 320))
"""(height, width), as the network sees them, at which the file is compared with it: landscape, portrait, and large."""

MAX_ERROR = 1e-3
"""Largest relative difference in depth that is accepted."""

OPSET = 17
"""Version of ONNX's operators: that of ONNX 1.12 (2022), which runtimes since then read."""

BLOCK_PX = 32
"""Sides must be multiples of this: the decoder's resizing of other sizes is not part of the graph."""

GUARD = "height_and_width_must_be_multiples_of_32"
"""Name of the first step, which fails for other sizes."""

SCALED_GUARD = "height_and_width_times_the_scale_must_be_multiples_of_32"
"""Name of that step where the image has been shrunk before."""


class _Blocks(nn.Module):
    """Returns its input, if both sides are multiples of `BLOCK_PX`; a graph of it fails otherwise."""

    def forward(self, image: Tensor) -> Tensor:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
        return blocks.reshape(image.shape)


class _Graph(nn.Module):
    def __init__(self, model: DepthUnet) -> None:
        super().__init__()
        self.model, self.guard = model, GUARD if model.scale == 1 else SCALED_GUARD
        self.add_module(self.guard, _Blocks())

    def forward(self, image: Tensor) -> Tensor:
        guarded = self.get_submodule(self.guard)
        if self.model.scale == 1:
            return self.model.predict_depth(guarded(image))
        size = torch._shape_as_tensor(image)[2:]  # round() would make a constant of the example's
        height, width = (size.double() * self.model.scale).round().long()
        z = self.model(guarded(shrink(image, height, width)))
        return depth_from_log(enlarge(z, *image.shape[-2:]))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the graph and the network agree on one image.

    Attributes:
        image: "noise" or "picture".
        height: Pixels.
        width: Pixels.
        error: Largest relative difference in depth.
    """

    image: str
    height: int
    width: int
    error: float


def _image_sizes(model: DepthUnet) -> list[tuple[int, int]]:
    """Return the sizes of images that the network sees at `SIZES_PX`."""
    return [(round(height / model.scale), round(width / model.scale)) for height, width in SIZES_PX]


def to_onnx(model: DepthUnet) -> bytes:
    """Export a network, in eval mode on the CPU, as the content of an ONNX file."""
    content = io.BytesIO()
    names = {0: "batch", 2: "height", 3: "width"}
    example = torch.zeros(1, 3, *_image_sizes(model)[0], dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing takes the branch of sizes that need no resizing, as is meant, and warns; and the exporter that needs
        # no further library is called the legacy one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(model).eval(),
            (example,),
            content,  # type: ignore[arg-type]  # a buffer is taken, too
            input_names=["image"],
            output_names=["depth"],
            dynamic_axes={"image": names, "depth": names},
            opset_version=OPSET,
            dynamo=False,
        )
    return _with_notes(content.getvalue(), model)


def _with_notes(content: bytes, model: DepthUnet) -> bytes:
    """Add what a program that runs the file should know."""
    import onnx

    graph = onnx.load_from_string(content)
    graph.doc_string = (
        f"image: uint8 (batch, 3, height, width), RGB, {_describe_sides(model)}. "
        f"depth: float32 (batch, 1, height, width), {_describe_depth(model)}."
    )
    onnx.helper.set_model_props(graph, {name: str(value) for name, value in dict(model.hparams).items()})
    annotated: bytes = graph.SerializeToString()
    return annotated


def _describe_sides(model: DepthUnet) -> str:
    if model.scale == 1:
        return f"height and width multiples of {BLOCK_PX}"
    return f"height and width times {model.scale:g}, rounded, multiples of {BLOCK_PX}"


def _describe_depth(model: DepthUnet) -> str:
    if model.options.depth_kind == "metric":
        return "metres for the camera that the network was trained on"
    return "up to scale: ratios within an image, not metres"


def compare_with(model: DepthUnet, content: bytes) -> list[Agreement]:
    """Run an ONNX file by onnxruntime, and compare its depth with the network's on noise and on a picture."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = []
    for height, width in _image_sizes(model):
        for name, image in _pictures(height, width):
            batch = np.ascontiguousarray(image.transpose(2, 0, 1))[None]  # (1, 3, H, W)
            wanted = model.predict_depth(torch.from_numpy(batch)).numpy()
            depth: Any = session.run(["depth"], {"image": batch})[0]
            error = float(np.max(np.abs(depth / wanted - 1))) if depth.shape == wanted.shape else math.inf
            found.append(Agreement(image=name, height=height, width=width, error=error))
    return found


def _pictures(height: int, width: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield noise, and an image with the statistics of a photo: its amplitudes fall with the frequency."""
    rng = np.random.default_rng(height * width)
    yield "noise", rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))  # (H, W), cycles per pixel
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, height, width))) * amplitude).real  # (3, H, W)
    waves = 0.8 * waves[:1] + 0.2 * waves  # the channels of a photo are alike
    levels = 128 + 50 * waves / waves.std()
    yield "picture", levels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def require_agreement(found: Sequence[Agreement]) -> Agreement:
    """Return the worst agreement, if it is good enough.

    Raises:
        DataError: It differs by more than `MAX_ERROR`.
    """
    worst = max(found, key=lambda one: one.error)
    if not worst.error <= MAX_ERROR:  # NaN is not, either
        raise DataError(
            f"nothing is written: the graph's depth differs from the network's by {worst.error:.2g} on {worst.image} "
            f"of {worst.height} x {worst.width} pixels, expected at most {MAX_ERROR}; try another onnxruntime"
        )
    return worst


def run(config: ExportConfig) -> Outcome:
    """Export the network of a checkpoint, compare it with the original, and write the file.

    Raises:
        DataError: They differ.
    """
    say_selection(config.run, config.checkpoint)
    model = DepthUnet.load(find_checkpoint(config.run, config.checkpoint))
    content = to_onnx(model)
    found = compare_with(model, content)
    worst = require_agreement(found)
    write_through_links(Path(config.onnx), content)
    sizes = ", ".join(f"{height} x {width}" for height, width in _image_sizes(model))
    about = {"scale": model.scale, "depth_kind": model.options.depth_kind}
    return Outcome(
        data={"onnx": config.onnx, "bytes": len(content), "opset": OPSET, **about, "agreement": found},
        text=f"{config.onnx}: {len(content) / 1e6:.0f} MB; depth within {worst.error:.1g} of the network's on noise "
        f"and a picture of {sizes} pixels; takes uint8 (batch, 3, height, width), {_describe_sides(model)}; gives "
        f"float32 depth, {_describe_depth(model)}",
    )
