"""Mixed precision for tensors without content (meta), which `torch.autocast` does not know.

It follows the rules of torch's reference of automatic mixed precision, as far as the depth network needs them:
convolutions are computed in 16 bits, whatever they are given; all other operations in the format of their inputs, or
in the widest of them.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Number format of convolutions, by Lightning's name of a precision."""

SWITCH = "cpu"
"""Device whose autocast tells whether it is on: that of meta tensors too, see `without_autocast`."""


class MetaAutocast(TorchFunctionMode):
    """A block in which convolutions of meta tensors are computed in a precision.

    Args:
        precision: Key of `DTYPES`.

    Attributes:
        copies: The weights in 16 bits.
    """

    def __init__(self, precision: str) -> None:
        super().__init__()
        dtype = DTYPES[precision]
        self.copies: list[Tensor] = []
        self._switch = torch.autocast(SWITCH, dtype, enabled=dtype != torch.float32)

    def __enter__(self) -> "MetaAutocast":
        self._switch.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._switch.__exit__(kind, error, trace)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute an operation, and cast the inputs of a convolution first."""
        if func is torch.conv2d and torch.is_autocast_enabled(SWITCH):
            args = [self._cast(value) if isinstance(value, Tensor) else value for value in args]
        return func(*args, **(kwargs or {}))

    def _cast(self, value: Tensor) -> Tensor:
        cast = value.to(torch.get_autocast_dtype(SWITCH))
        if isinstance(value, nn.Parameter):
            self.copies.append(cast)
        return cast
