"""Computing in true float32, also on GPUs whose convolutions and matrix products would otherwise use TF32.

TF32 keeps 10 of float32's 23 mantissa bits: relative errors of 1e-3 (NVIDIA A100 whitepaper, 2020). torch allows it in
convolutions by default.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


@contextlib.contextmanager
def tf32(convolutions: bool, products: bool) -> Iterator[None]:
    """Allow TF32 in convolutions and in matrix products, or not; restore the settings afterwards."""
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32
    cudnn.allow_tf32, cublas.allow_tf32 = convolutions, products
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = before


def full_float32() -> contextlib.AbstractContextManager[None]:
    """Turn TF32 off."""
    return tf32(False, False)


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Turn mixed precision off, for operations on the device of `tensor`.

    Tensors without content (meta) follow the switch of the CPU: they have none of their own.
    """
    kind = tensor.device.type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)
