"""`depthstream predict`: the depth of image files, as numbers and as a picture.

For an image whose name is S (`training.evaluation.inputs` tells which) three files are written, upright (the
orientation in the EXIF data is applied):

    S.npy         float32 (H, W), metres, as large as the image; of a network that was trained on depth up to scale,
                  numbers of which only the ratios within the image mean something
    S.depth.png   the same as 16-bit log depth, which never saturates: code 1..65535 means
                  near * (far / near) ** ((code - 1) / 65534), and near and far are in the PNG's text chunks;
                  `sharding.codecs.log16.decode_log16` reads it
    S.view.png    the image next to its depth in colour, with a colour bar
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.cli import Outcome
from sharding.codecs.log16 import encode_log16, log16_error
from sharding.codecs.npy import encode_npy
from sharding.errors import DataError
from sharding.format.sample import Sample
from sharding.machine.files import write_atomically
from sharding.progress import say, track
from sharding.reading.pictures import color_bar, colorize_depth, depth_range, encode_png, fit_side
from training.config import PredictConfig
from training.depth_options import TrainedKind
from training.evaluation.check import check_results
from training.evaluation.inputs import ARRAY, CODED, VIEW, Input, find_inputs
from training.evaluation.selection import say_selection
from training.launch.devices import find_devices
from training.launch.out_of_memory import explaining_lack
from training.model.depth_unet import DepthUnet
from training.model.inference import predict_photo
from training.prediction.photo import Photo, read_photo
from training.run_files import file_sha256
from training.runfolder import find_checkpoint

_VIEW_SIDE_PX = 640  # longer side of a panel
_GAP_PX = 8
_NAMED = 5  # images in the message about those that failed


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The files written for an image, and a summary of its depth.

    Attributes:
        image: The image file.
        files: Paths of the three files.
        depth_kind: "metric", or "up_to_scale" if only ratios within the image mean something.
        near_m: Least predicted depth, metres; None of depth up to scale.
        median_m: Median predicted depth, metres; None of depth up to scale.
        far_m: Largest predicted depth, metres; None of depth up to scale.
        far_to_near: The largest divided by the least.
        png_error: Largest relative error of the 16-bit PNG.
        focal_px: Focal length of the image in its pixels; None if it is not known.
        doubt: Why its metres may be wrong; "" if nothing is known against them.
    """

    image: str
    files: tuple[str, ...]
    depth_kind: TrainedKind
    near_m: float | None
    median_m: float | None
    far_m: float | None
    far_to_near: float
    png_error: float
    focal_px: float | None
    doubt: str


def draw_view(image: NDArray[np.uint8], depth: NDArray[np.float32], *, metric: bool = True) -> Image.Image:
    """Draw the image, its depth in colour, and a colour bar, side by side.

    Args:
        image: uint8 (H, W, 3).
        depth: float32 (H, W).
        metric: Whether it is in metres; if not, the bar is labelled with multiples of the median.
    """
    depth = depth if metric else depth / np.median(depth)
    everywhere = np.ones(depth.shape, np.bool_)
    near, far = depth_range([Sample(key="view", image=image, depth=depth, valid=everywhere)])
    panels = [fit_side(one, _VIEW_SIDE_PX) for one in (image, colorize_depth(depth, everywhere, near, far))]
    bar = color_bar(max(panels[0].height, 120), near, far, "m" if metric else "x")
    view = Image.new("RGB", (2 * (panels[0].width + _GAP_PX) + bar.width, bar.height), "white")
    for x, picture in ((0, panels[0]), (panels[0].width + _GAP_PX, panels[1]), (2 * (panels[0].width + _GAP_PX), bar)):
        view.paste(picture, (x, 0))
    return view


def write_prediction(
    one: Input,
    photo: Photo,
    depth: NDArray[np.float32],
    out: Path,
    doubt: str = "",
    depth_kind: TrainedKind = "metric",
) -> Prediction:
    """Write the three files of an image into a folder.

    Args:
        one: The image, and the name of its results.
        photo: Its pixels and focal length.
        depth: float32 (H, W), positive and finite; in metres, or up to scale.
        out: The folder to write into; those of the name are made.
        doubt: Why its metres may be wrong; "" if nothing is known against them.
        depth_kind: "metric" or "up_to_scale".
    """
    metric, everywhere = depth_kind == "metric", np.ones(depth.shape, np.bool_)
    contents = {
        one.name + ARRAY: encode_npy(depth),
        one.name + CODED: encode_log16(depth, everywhere, None if metric else {"depth_kind": depth_kind}),
        one.name + VIEW: encode_png(draw_view(photo.image, depth, metric=metric)),
    }
    # First the one that tells whose the others are: see `check_results`.
    for name in sorted(contents, key=lambda name: not name.endswith(CODED)):
        write_atomically(out / name, contents[name])
    near, far = float(depth.min()), float(depth.max())
    return Prediction(
        image=str(one.file),
        files=tuple(str(out / name) for name in contents),
        depth_kind=depth_kind,
        near_m=near if metric else None,
        median_m=float(np.median(depth)) if metric else None,
        far_m=far if metric else None,
        far_to_near=far / near,
        png_error=log16_error(near, far),
        focal_px=photo.focal_px,
        doubt=doubt,
    )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be predicted, and why."""

    image: str
    error: str


def run(config: PredictConfig) -> Outcome:
    """Predict every image, by the network of a checkpoint."""
    inputs = find_inputs(config.images, config.out)
    check_results(inputs, config.out)
    device = find_devices(config.accelerator, 1)[0]
    file = find_checkpoint(config.run, config.checkpoint)
    say_selection(config.run, config.checkpoint)
    outcome = predict_inputs(inputs, DepthUnet.load(file).to(device), config)
    return replace(outcome, data=outcome.data | {"checkpoint_sha256": file_sha256(file)})


def predict_inputs(inputs: Sequence[Input], model: DepthUnet, config: PredictConfig) -> Outcome:
    """Predict every image; one that cannot be read is named, and the others are predicted all the same.

    Args:
        inputs: The images.
        model: The network, in eval mode on the device to compute on.
        config: Where results go, focal lengths and tiles.

    Returns:
        The predictions and failures; an error if there are failures.
    """
    done: list[Prediction] = []
    failed: list[Failure] = []
    for one in track(inputs, total=len(inputs), unit="images", label="predict"):
        # Around the rest: memory that runs out for one tile is not the fault of the image.
        with explaining_lack(str(one.file), "give --accelerator cpu, or smaller --tile-pixels"):
            try:
                done.append(_predict(one, model, config))
            except DataError as error:
                failed.append(Failure(image=str(one.file), error=str(error).removeprefix(f"{one.file}: ")))
                say(f"{one.file}: not predicted: {failed[-1].error}")
    _say_doubts(done)
    return Outcome(
        data={"predictions": done, "failures": failed},
        text="\n".join(map(_line, done)),
        error=_summary(failed, len(inputs)),
    )


def _predict(one: Input, model: DepthUnet, config: PredictConfig) -> Prediction:
    camera = model.options.camera
    if config.camera_focal_px is not None:
        camera = replace(camera, focal_px=config.camera_focal_px)
    photo = read_photo(one.file, config.focal_px)
    depth = predict_photo(model, photo, camera, model.device, config.tile_pixels)
    doubt, kind = camera.doubt(photo.focal_px), model.options.depth_kind
    return write_prediction(one, photo, depth, Path(config.out), doubt, kind)


def _say_doubts(done: list[Prediction]) -> None:
    """Say once for each reason why the metres of some images may be wrong."""
    doubts = Counter((one.doubt, one.depth_kind) for one in done if one.doubt)
    for (doubt, kind), times in doubts.items():
        first = next(one.image for one in done if one.doubt == doubt)
        others = f" and {times - 1} more" if times > 1 else ""
        remedy = "; give --focal-px, and --camera-focal-px for an older checkpoint" if kind == "metric" else ""
        say(f"{first}{others}: {doubt}{remedy}")


def _line(one: Prediction) -> str:
    found = f"up to scale, the farthest is {one.far_to_near:.3g} times as far as the nearest"
    if one.depth_kind == "metric":
        found = f"{one.near_m:.2f} to {one.far_m:.2f} m, median {one.median_m:.2f} m"
    return f"{one.image}: {found} -> {', '.join(one.files)}"


def _summary(failed: list[Failure], total: int) -> str:
    if not failed:
        return ""
    names = ", ".join(one.image for one in failed[:_NAMED]) + ", ..." * (len(failed) > _NAMED)
    return f"{len(failed)} of {total} images could not be predicted: {names}; --json has the reasons"
