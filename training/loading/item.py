"""Items of the datasets with depth: a sample as tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharding.errors import DataError
from sharding.format.sample import Sample


def to_item(sample: Sample, weight: float) -> dict[str, Any]:
    """Convert a decoded sample with depth to the tensors of an item (shapes: `DiodeDepthDataset`).

    Raises:
        DataError: The sample has no depth or no valid mask.
    """
    if sample.depth is None or sample.valid is None:
        raise DataError(f"key {sample.key}: expected depth and valid, found none")
    depth = np.where(sample.valid, sample.depth, np.float32(0))
    # (H, W, 3) -> (3, H, W). All arrays are copied: decoded ones may be read-only, which torch does not support.
    image: Tensor = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))
    return {
        "image": image,
        "depth": torch.from_numpy(depth)[None],
        "valid": torch.from_numpy(sample.valid.copy())[None],
        "weight": torch.tensor(weight),
        "key": sample.key,
    }
