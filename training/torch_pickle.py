"""What the pickle in a file of torch.save names and claims, read without torch and without running any of it.

`torch.load(weights_only=True)` calls no function of a file, but it allocates what the file claims: a tensor of 10^10
numbers over a storage of one, a bytearray of 6 GB; and it takes the length of a storage on trust. So the pickle is read
twice before. First its instructions alone: those that plain tensors, numbers, text, lists and dicts need, and names of
`NAMES`. Then by an unpickler that knows stand-ins for these names: each storage must have its bytes in the file, and
each tensor must lie in its storage.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from sharding.escaping import escape, shorten

ITEM_BYTES = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2},
    **{"Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1},
}
"""Bytes of a number, by the name of torch's storage: real numbers, no complex, quantised or 8-bit floating ones."""

# Instructions of protocol 2 for plain values, and for calls of what GLOBAL names.
_INSTRUCTIONS = frozenset(
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINSTRING "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD BINPERSID".split()
)
_PROTOCOL = 2
_MEMO = ("BINPUT", "LONG_BINPUT")


class NotPlain(Exception):
    """A pickle that is no plain one: the text says what was found in it."""


class _Storage:
    """A storage of so many numbers."""

    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Tensor:
    """A tensor; it keeps nothing."""

    __slots__ = ()


class _Named:
    """What stands for a name: it can be called, and a file cannot change it, as it has no place for attributes."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> None:
        raise NotPlain("a change of a function of torch")

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class _Kind:
    """A type of storage."""

    __slots__ = ("item_bytes",)
    item_bytes: int

    def __init__(self, item_bytes: int) -> None:
        object.__setattr__(self, "item_bytes", item_bytes)

    def __setattr__(self, name: str, value: Any) -> None:
        raise NotPlain("a change of a type of torch")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    """Check that a tensor lies in its storage; it may still be much larger than that, where a stride is 0."""
    sound = isinstance(storage, _Storage) and all(isinstance(one, tuple) and len(one) <= 64 for one in (size, stride))
    if not sound or len(size) != len(stride) or not all(map(_is_count, (offset, *size, *stride))):
        raise NotPlain("a tensor that is not built as torch does")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel:
        raise NotPlain(f"a tensor of {math.prod(size)} numbers that reaches beyond its storage of {storage.numel}")
    return _Tensor()


def _rebuild_parameter(tensor: Any, *rest: Any) -> Any:
    if not isinstance(tensor, _Tensor):
        raise NotPlain("a parameter that is no tensor")
    return tensor


NAMES: dict[str, Any] = {
    "collections OrderedDict": OrderedDict,
    "torch._utils _rebuild_tensor_v2": _Named(_rebuild_tensor),
    "torch._utils _rebuild_parameter": _Named(_rebuild_parameter),
    "torch Size": _Named(tuple),
    **{f"torch {kind}Storage": _Kind(item_bytes) for kind, item_bytes in ITEM_BYTES.items()},
}
"""What a file may name, as its pickle does, and what stands for it here."""


class _Reader(pickle.Unpickler):
    """Makes the values of a pickle that was scanned, with stand-ins for storages and tensors.

    Args:
        file: The pickle.
        storage_bytes: Bytes of a storage in the file by its key; None if the file does not tell.
        most: Bytes that all storages may have together.
    """

    def __init__(self, file: io.BytesIO, storage_bytes: Callable[[str], int | None], most: int) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage_bytes, self._left = storage_bytes, most
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        return NAMES[f"{module} {name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        """Check a storage: ("storage", type, key, device, count), and in older files a view."""
        sound = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and isinstance(pid[1], _Kind)
        if not sound or not isinstance(pid[2], str) or not _is_count(pid[4]) or pid[5:] not in ((), (None,)):
            raise NotPlain("a storage that is not written as torch does")
        size, key = pid[4] * pid[1].item_bytes, pid[2]
        found = self._storage_bytes(key)
        if found is not None and found != size:
            raise NotPlain(f"{found} bytes for a storage of {size}")
        if key not in self._storages:
            self._left -= size
            self._storages[key] = _Storage(pid[4])
        if self._left < 0 or self._storages[key].numel != pid[4]:
            raise NotPlain("storages of more bytes than the file")
        return self._storages[key]


def read_plain(content: bytes, storage_bytes: Callable[[str], int | None], most: int, pickles: int = 1) -> list[Any]:
    """Read the pickles at the beginning of `content`, one after the other.

    Args:
        content: The bytes; after the pickles may be others.
        storage_bytes: Bytes of a storage in the file by its key; None if the file does not tell.
        most: Bytes that all storages may have together.
        pickles: How many.

    Returns:
        The values, with stand-ins for tensors.

    Raises:
        NotPlain: They are damaged, or hold something else than tensors, numbers, text, lists and dicts.
    """
    file, values = io.BytesIO(content), []
    for _ in range(pickles):
        begin = file.tell()
        _scan(file)
        file.seek(begin)
        try:
            values.append(_Reader(file, storage_bytes, most).load())
        except NotPlain:
            raise
        except Exception as error:  # unpicklers raise errors of any type on wrong instructions
            raise NotPlain(f"a damaged pickle ({_brief(error)})") from error
    return values


def _scan(file: io.BytesIO) -> None:
    """Read the instructions of a pickle, which ends at STOP.

    Raises:
        NotPlain: There is another than the allowed ones.
    """
    memo = 0
    try:
        for instruction, argument, _ in pickletools.genops(file):
            if instruction.name == "GLOBAL" and argument not in NAMES:
                raise NotPlain(
                    f"{shorten(escape(str(argument).replace(' ', '.')), 100)} in it, which is no plain value"
                )
            if instruction.name == "PROTO" and argument != _PROTOCOL:
                raise NotPlain(f"a pickle of protocol {argument}, where torch writes {_PROTOCOL}")
            if instruction.name not in _INSTRUCTIONS:
                raise NotPlain(f"the pickle instruction {instruction.name}, which no plain value needs")
            if instruction.name in _MEMO:
                # torch numbers them one after the other; Python's unpickler makes room for the largest number.
                if not isinstance(argument, int) or argument > memo:
                    raise NotPlain(f"a memo of {argument} entries in its pickle")
                memo += 1
    except NotPlain:
        raise
    except Exception as error:  # pickletools raises errors of any type on a damaged pickle
        raise NotPlain(f"a damaged pickle ({_brief(error)})") from error


def _brief(error: Exception) -> str:
    return shorten(escape(f"{type(error).__name__}: {error}"), 100)
