"""Numbers on their way to the device, without waiting for it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def send(values: ArrayLike, device: torch.device, dtype: Any = None) -> Tensor:
    """Copy numbers to the device.

    To a GPU from page-locked memory: from other memory a copy may wait for all that the device still has to do. torch
    keeps the page-locked memory until the copy is done.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
