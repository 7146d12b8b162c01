"""What may have been meant by a query on the index that is wrong or selects nothing."""

import re
from typing import TYPE_CHECKING

from sharding.options import suggest

if TYPE_CHECKING:
    import pandas as pd

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_TO_NUMBER = re.compile(r"\b(\w+)\s*(?:==|!=|<=?|>=?|in)\s*\[?\s*([0-9.]+)")
_TO_WORD = re.compile(r"\b(\w+)\s*(?:==|!=)\s*([A-Za-z_]\w*)")
_HIDDEN = ("_offset", "_crc32c", "_bytes")  # columns that say where a part is, not what it is


def explain_error(frame: "pd.DataFrame", where: str, error: Exception) -> str:
    """Say in a line why a query is wrong, and what may have been meant."""
    undefined = _UNDEFINED.search(str(error))
    columns = [str(name) for name in frame.columns if not str(name).endswith(_HIDDEN)]
    if undefined is None:
        return f"not a query ({' '.join(str(error).split())}); write it as \"scene_type == 'outdoor' and height > 500\""
    name = undefined[1]
    for column, word in _TO_WORD.findall(_QUOTED.sub("''", where)):
        if word == name and column in columns:
            return f"{name} is no column; if it is a value of {column}, quote it: {column} == '{name}'"
    return f"no column named {name}{suggest(name, columns)}"


def explain_nothing(frame: "pd.DataFrame", where: str) -> str:
    """Suggest why a query selects nothing, starting with "; "; "" if it compares nothing of the wrong type."""
    for column, number in _TO_NUMBER.findall(_QUOTED.sub("''", where)):
        if column in frame.columns and frame[column].dtype.kind not in "iufb":
            some = next((str(value) for value in frame[column] if value), number)
            return f"; {column} is text, so compare it with text such as '{some}'"
    return ""
