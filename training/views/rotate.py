"""Rotate views about their centres, mirrored beyond their borders: albumentations' Rotate."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from training.views.device import send
from training.views.draws import Array


def rotate(levels: Tensor, degrees: Array) -> Tensor:
    """Rotate views by bilinear interpolation; what is beyond a border is its mirror image (cv2's BORDER_REFLECT_101).

    Args:
        levels: float32 (n, 3, h, w), whole numbers of 0 to 255.
        degrees: (n,) angles, counter-clockwise as the image is seen; 0 changes nothing.

    Returns:
        Levels, of the same shape.
    """
    height, width = levels.shape[-2:]
    down, across = (height - 1) / 2, (width - 1) / 2  # centre
    angle = np.deg2rad(degrees % 360)
    cosine, sine = (send(one(angle), levels.device, np.float32)[:, None, None] for one in (np.cos, np.sin))
    y = torch.arange(height, device=levels.device, dtype=torch.float32)[:, None] - down
    x = torch.arange(width, device=levels.device, dtype=torch.float32) - across
    # Where each pixel comes from, relative to the centre, in halves of the distance between the outermost pixels.
    source_x = (cosine * x - sine * y) / max(across, 0.5)
    source_y = (sine * x + cosine * y) / max(down, 0.5)
    grid = torch.stack([source_x, source_y], dim=-1)  # (n, h, w, 2)
    return torch.round(grid_sample(levels, grid, padding_mode="reflection", align_corners=True))
