"""What may have been meant by a condition (`--where`) that is wrong; each message is a part of a line."""

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sharding.escaping import shorten
from sharding.options import suggest

if TYPE_CHECKING:
    import pandas as pd

    from sharding.format.index_rows import IndexRows

_HIDDEN = ("_offset", "_crc32c", "_bytes")  # columns that say where a part is, not what it is
_MAX_NAME_CHARS = 60
_WORDS = {"number": "a number", "text": "text", "truth": "true or false", "one value": "the same for all samples"}


def source(node: ast.expr) -> str:
    """Write a part of a condition for a message, shortened."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value >= 2**64:
        return "a number of more than 64 bits"  # Python refuses to print one of 5,000 digits
    return shorten(ast.unparse(node), _MAX_NAME_CHARS)


def explain_name(frame: "pd.DataFrame | IndexRows", name: str) -> str:
    """Say that there is no such column, and which there may be."""
    columns = [shorten(str(one), _MAX_NAME_CHARS) for one in frame.columns if not str(one).endswith(_HIDDEN)]
    name = shorten(name, _MAX_NAME_CHARS)
    return f"no column named {name}{shorten(suggest(name, columns), 600)}"


def explain_word(column: str, word: str) -> str:
    """Say that a value of a column of text lacks its quotes."""
    word = shorten(word, _MAX_NAME_CHARS)
    return f"{word} is no column; if it is a value of {column}, quote it: {column} == '{word}'"


def explain_column(name: str, dtype: str) -> str:
    """Say that a column cannot be used."""
    return f"column {shorten(name, _MAX_NAME_CHARS)} holds neither text nor numbers: {shorten(dtype, _MAX_NAME_CHARS)}"


def explain_kinds(name: str, kind: str, needed: str) -> str:
    """Say that something has another type than its place needs.

    Args:
        name: A column, or a part of the condition.
        kind: Its type: "number", "text", "truth", or "one value" if it is the same for all samples.
        needed: What has to stand there: "condition", "number" or "text".
    """
    expected = "a condition on each sample, such as height > 500" if needed == "condition" else _WORDS[needed]
    return f"expected {expected}, found {name}, which is {_WORDS[kind]}"


def explain_comparison(name: str, kind: str, values: Iterable[Any]) -> str:
    """Say that something, of which `values` are examples, is compared with another type."""
    some = next((value for value in values if value == value and value != ""), "")
    example = repr(shorten(some, _MAX_NAME_CHARS)) if isinstance(some, str) else str(some)
    return f"{name} is {_WORDS[kind]}, so compare it with {_WORDS[kind]} such as {example}"


def explain_pattern(column: str, text: str) -> str:
    """Say that a text for `contains` would be a regular expression in pandas, which is not read here."""
    shown = repr(shorten(text, _MAX_NAME_CHARS))
    return (
        f"{column}.str.contains finds plain text, no regular expression; for {shown} as it stands, write "
        f"{column}.str.contains({shown}, regex=False); for one of several texts, join such conditions with or"
    )


def explain_node(node: ast.expr) -> str:
    """Say that a part of an expression of Python is none of a condition."""
    match node:
        case ast.Constant(value=None):
            return "None is no value of the index; a part that a sample lacks has the extension '': depth_ext != ''"
        case ast.List() | ast.Tuple():
            return f"a list stands only after in: scene in ['0001', '0002'], found {source(node)}"
        case ast.Attribute() | ast.Call():
            kinds = "COLUMN.str.startswith('...'), .str.endswith('...') and .str.contains('...')"
            return f"expected no other calls and attributes than {kinds}, found {source(node)}"
    return f"{source(node)} is no part of a condition: use columns, values, comparisons, and, or, not, in, + - * / %"
