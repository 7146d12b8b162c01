"""Rows of an index in memory, as small as their file has them: a column becomes one of pandas when it is asked for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd  # both take a while, so only the functions that use them import them
    import pyarrow as pa


class IndexRows:
    """The rows of an index, or some of them.

    Has what a condition (`sharding.format.where`) uses of a `pandas.DataFrame`: `columns`, `index` and columns by name.

    Args:
        arrays: Column -> its N values as `read_table` returns them.
        types: Column -> type: "str", or a number as numpy names it.
        index: Labels of the rows; None for their numbers.
    """

    def __init__(
        self, arrays: "Mapping[str, pa.Array]", types: Mapping[str, str], index: "pd.Index | None" = None
    ) -> None:
        import pandas as pd

        self._arrays, self._types = dict(arrays), types
        self.index: pd.Index = pd.RangeIndex(len(self)) if index is None else index

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    @property
    def columns(self) -> list[str]:
        """Names of the columns in order."""
        return list(self._arrays)

    @overload
    def __getitem__(self, name: str) -> "pd.Series[Any]": ...

    @overload
    def __getitem__(self, name: list[str]) -> "pd.DataFrame": ...

    def __getitem__(self, name: str | list[str]) -> "pd.Series[Any] | pd.DataFrame":
        """Make a column of pandas, or a table of several, with the labels of the rows."""
        return self._to_pandas(name) if isinstance(name, list) else self._to_pandas([name])[name]

    def to_frame(self) -> "pd.DataFrame":
        """Make the table of all columns, with the labels of the rows."""
        return self._to_pandas(self.columns)

    def _to_pandas(self, names: list[str]) -> "pd.DataFrame":
        import pyarrow as pa

        frame: pd.DataFrame = pa.table({name: self._widened(name) for name in names}).to_pandas()
        frame.index = self.index
        return frame

    def _widened(self, name: str) -> "pa.Array":
        import pyarrow as pa

        kind = self._types[name]
        return self._arrays[name].cast(pa.large_string() if kind == "str" else pa.from_numpy_dtype(kind))

    def chosen(self, mask: NDArray[np.bool_]) -> "IndexRows":
        """Return the rows where `mask`, (N,), is true; they keep their labels."""
        import pyarrow as pa

        chosen = pa.array(mask)
        return IndexRows(
            {name: array.filter(chosen) for name, array in self._arrays.items()}, self._types, self.index[mask]
        )

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers, (N,), without a copy: integers are of any width that holds them."""
        values: NDArray[Any] = self._arrays[name].to_numpy(zero_copy_only=True)
        return values

    def codes(self, name: str) -> tuple[NDArray[Any], list[str]]:
        """Return a column of text as integers (N,), places in the texts that follow; not all of these need occur."""
        array = self._coded(name)
        codes: NDArray[Any] = array.indices.to_numpy(zero_copy_only=True)
        return codes, array.dictionary.to_pylist()

    def texts(self, name: str) -> list[str]:
        """Return the texts that occur in a column, each once."""
        array = self._coded(name)
        used = np.zeros(len(array.dictionary), np.bool_)
        used[array.indices.to_numpy(zero_copy_only=True)] = True
        texts: list[str] = array.dictionary.filter(used).to_pylist()
        return texts

    def _coded(self, name: str) -> "pa.DictionaryArray":
        import pyarrow as pa

        array = self._arrays[name]
        return array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()

    def text(self, name: str) -> "pa.LargeStringArray":
        """Return a column of text, each as often as it occurs."""
        return self._widened(name)

    def at(self, row: int, name: str) -> Any:
        """Return one value, of Python."""
        return self._arrays[name][row].as_py()
