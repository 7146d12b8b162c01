"""`depthstream predict`: the depth of image files, as numbers and as a picture.

For an IMAGE with stem S three files are written, upright (the orientation in the EXIF data is applied):

    S.npy         float32 (H, W), metres, as large as the image
    S.depth.png   the same as 16-bit log depth, which never saturates: code 1..65535 means
                  near * (far / near) ** ((code - 1) / 65534), and near and far (metres) are in the PNG's text chunks;
                  `sharding.codecs.log16.decode_log16` reads it
    S.view.png    the image next to its depth in colour, with a colour bar in metres
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sharding.cli import Outcome
from sharding.codecs.image import open_image, to_rgb
from sharding.codecs.log16 import encode_log16, log16_error
from sharding.codecs.npy import encode_npy
from sharding.errors import DataError
from sharding.format.sample import Sample
from sharding.limits import MAX_MEMBER_BYTES
from sharding.machine.files import write_atomically
from sharding.machine.regular import read_regular
from sharding.progress import track
from sharding.reading.pictures import color_bar, colorize_depth, depth_range, encode_png
from training.config import PredictConfig
from training.evaluation.check import ARRAY, CODED, VIEW, check_results
from training.evaluation.evaluate import Predictor, load_predictor
from training.launch.devices import find_devices
from training.launch.out_of_memory import explaining_lack
from training.model.float32 import full_float32
from training.runfolder import find_checkpoint

_VIEW_SIDE_PX = 640  # longer side of a panel
_GAP_PX = 8


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The files written for an image, and a summary of its depth.

    Attributes:
        image: The image file.
        files: Paths of the three files.
        near_m: Least predicted depth, metres.
        median_m: Median predicted depth, metres.
        far_m: Largest predicted depth, metres.
        png_error: Largest relative error of the 16-bit PNG.
    """

    image: str
    files: tuple[str, ...]
    near_m: float
    median_m: float
    far_m: float
    png_error: float


def read_photo(file: Path) -> NDArray[np.uint8]:
    """Read an image file of any mode, rotated as its EXIF orientation tells.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: The file is missing, larger than `MAX_MEMBER_BYTES`, or is not a readable image.
    """
    try:
        with open_image(read_regular(file, MAX_MEMBER_BYTES)) as image:
            return np.array(to_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{file}: expected a readable image: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def predict_image(predictor: Predictor, image: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Predict the depth of one image of any size.

    Args:
        predictor: A network on `device`, in evaluation mode, or a baseline.
        image: uint8 (H, W, 3), RGB.
        device: Device to compute on.

    Returns:
        float32 (H, W), metres, computed without TF32.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device)  # (1, 3, H, W)
    with torch.inference_mode(), full_float32():
        depth: NDArray[np.float32] = predictor.predict_depth(tensor)[0, 0].float().cpu().numpy()
    return depth


def draw_view(image: NDArray[np.uint8], depth: NDArray[np.float32]) -> Image.Image:
    """Draw the image, its depth in colour, and a colour bar in metres, side by side.

    Args:
        image: uint8 (H, W, 3).
        depth: float32 (H, W), metres.
    """
    everywhere = np.ones(depth.shape, np.bool_)
    near, far = depth_range([Sample(key="view", image=image, depth=depth, valid=everywhere)])
    panels = [_fit(image), _fit(colorize_depth(depth, everywhere, near, far))]
    bar = color_bar(max(panels[0].height, 120), near, far)
    view = Image.new("RGB", (2 * (panels[0].width + _GAP_PX) + bar.width, bar.height), "white")
    for x, picture in ((0, panels[0]), (panels[0].width + _GAP_PX, panels[1]), (2 * (panels[0].width + _GAP_PX), bar)):
        view.paste(picture, (x, 0))
    return view


def _fit(pixels: NDArray[np.uint8]) -> Image.Image:
    """Scale so that the longer side has `_VIEW_SIDE_PX`; small images are enlarged without smoothing."""
    factor = _VIEW_SIDE_PX / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    return Image.fromarray(pixels).resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST)


def write_prediction(file: Path, image: NDArray[np.uint8], depth: NDArray[np.float32], out: Path) -> Prediction:
    """Write the three files of an image into a folder.

    Args:
        file: The image file; its stem is the stem of the three.
        image: uint8 (H, W, 3).
        depth: float32 (H, W), metres, positive and finite.
        out: The folder to write into.
    """
    contents = {
        file.stem + ARRAY: encode_npy(depth),
        file.stem + CODED: encode_log16(depth, np.ones(depth.shape, np.bool_)),
        file.stem + VIEW: encode_png(draw_view(image, depth)),
    }
    # First the one that tells whose the others are: see `check_results`.
    for name in sorted(contents, key=lambda name: not name.endswith(CODED)):
        write_atomically(out / name, contents[name])
    near, far = float(depth.min()), float(depth.max())
    return Prediction(
        image=str(file),
        files=tuple(str(out / name) for name in contents),
        near_m=near,
        median_m=float(np.median(depth)),
        far_m=far,
        png_error=log16_error(near, far),
    )


def run(config: PredictConfig) -> Outcome:
    """Predict every image; stop at the first that cannot be read, and keep the files written so far."""
    files = [Path(name) for name in config.images]
    check_results(config.images, config.out)
    device = find_devices(config.accelerator, 1)[0]
    named = load_predictor(find_checkpoint(config.run, config.checkpoint), config.run, device)
    done = []
    for file in track(files, total=len(files), unit="images", label="predict"):
        image = read_photo(file)
        with explaining_lack(str(file), "give --accelerator cpu, or a smaller image"):
            depth = predict_image(named.predictor, image, device)
        done.append(write_prediction(file, image, depth, Path(config.out)))
    lines = [
        f"{one.image}: {one.near_m:.2f} to {one.far_m:.2f} m, median {one.median_m:.2f} m -> {', '.join(one.files)}"
        for one in done
    ]
    return Outcome(data={"predictions": done, "checkpoint_sha256": named.fingerprint}, text="\n".join(lines))
