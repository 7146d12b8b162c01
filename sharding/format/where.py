"""Conditions on the samples of an index (`--where`): a small part of Python's expressions, computed here, not executed.

    columns        their names; `index` is the row number in the whole set
    values         'text', 500, -1.5, True, False
    comparisons    == != < <= > >=, also in chains (300 < height <= 500); in, not in, with a list of values
    text           COLUMN.str.startswith('...'), .str.endswith('...'), .str.contains('...')
    arithmetic     + - * / % of numbers, in 64-bit floating point: height * width > 1e6
    conditions     and, or, not; & and | mean and, or; ~ is not, and needs parentheses: ~(height > 500)

Results are those of `pandas.DataFrame.eval`. Whatever else Python has is refused: no function is called, no attribute
is read, no power is computed.
"""

import ast
import functools
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError
from sharding.format.where_hints import (
    explain_column,
    explain_comparison,
    explain_kinds,
    explain_name,
    explain_node,
    explain_pattern,
    explain_word,
    source,
)
from sharding.format.where_text import parse_where

if TYPE_CHECKING:
    import pandas as pd

    from sharding.format.index_rows import IndexRows

ROW_NAME = "index"
"""Name, in a condition, of a sample's row number in the whole set."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
}
_TEXT_TESTS = ("startswith", "endswith", "contains")
_REGEX_SIGNS = frozenset(".^$*+?{}[]\\|()")
_KINDS: dict[type, str] = {str: "text", int: "number", float: "number", bool: "truth"}

_HALVES = re.compile("[\ud800-\udfff]")  # of a pair that UTF-16 writes for one character

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Value:
    """A part of a condition, computed.

    Attributes:
        kind: "number", "text" or "truth".
        data: One value a sample, a numpy array or for text a pandas Series; or one value for all, of Python.
        one: Whether it is one value for all samples.
        name: As it was written, for messages.
    """

    kind: str
    data: Any
    one: bool
    name: str


def find_samples(frame: "pd.DataFrame | IndexRows", where: str) -> Mask:
    """Compute which samples of an index meet a condition: bool (N,).

    Raises:
        UsageError: It is no condition on these columns; the message says only why.
    """
    with np.errstate(all="ignore"):  # a division by zero is inf or NaN, as in pandas
        return _Evaluation(frame).condition(parse_where(where))


class _Evaluation:
    """The walk over the syntax tree; every kind of node that is not named here is refused."""

    def __init__(self, frame: "pd.DataFrame | IndexRows") -> None:
        self._frame = frame

    def condition(self, node: ast.expr) -> Mask:
        """Compute a part that has to be true or false of each sample."""
        value = self._value(node)
        if value.kind != "truth" or value.one:
            raise UsageError(explain_kinds(value.name, "one value" if value.one else value.kind, "condition"))
        return np.asarray(value.data, np.bool_)

    def _value(self, node: ast.expr) -> _Value:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return self._column(node.id)
            case ast.BoolOp():
                join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
                return self._truth(node, functools.reduce(join, map(self.condition, node.values)))
            case ast.UnaryOp(op=ast.Not() | ast.Invert()):
                return self._truth(node, ~self.condition(node.operand))
            case ast.UnaryOp():
                operand = self._number(node.operand)
                data = _negate(operand.data) if isinstance(node.op, ast.USub) else operand.data
                return _Value("number", data, operand.one, source(node))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = self._number(node.left), self._number(node.right)
                data = _ARITHMETIC[type(node.op)](_to_float(left.data), _to_float(right.data))
                return _Value("number", data, left.one and right.one, source(node))
            case ast.Compare():
                return self._truth(node, self._compare(node))
            case ast.Call():
                return self._truth(node, self._test_text(node))
        raise UsageError(explain_node(node))

    def _truth(self, node: ast.expr, data: Mask) -> _Value:
        return _Value("truth", data, False, source(node))

    def _constant(self, node: ast.Constant) -> _Value:
        value = node.value
        kind = _KINDS.get(type(value))
        if kind is None or (type(value) is int and value >= 2**64):
            raise UsageError(explain_node(node))
        if isinstance(value, str) and _HALVES.search(value):
            raise UsageError(f"{source(node)} contains half a character, which no text of the index does")
        return _Value(kind, value, True, source(node))

    def _number(self, node: ast.expr) -> _Value:
        value = self._value(node)
        if value.kind != "number":
            raise UsageError(explain_kinds(value.name, value.kind, "number"))
        return value

    def _column(self, name: str) -> _Value:
        import pandas as pd

        column: Any
        if name in self._frame.columns:
            column = self._frame[name]
        elif name == ROW_NAME:
            column = self._frame.index.to_series()
        else:
            raise UsageError(explain_name(self._frame, name))
        if pd.api.types.is_bool_dtype(column):
            return _Value("truth", column.to_numpy(np.bool_, na_value=False), False, name)
        if pd.api.types.is_any_real_numeric_dtype(column):
            whole = isinstance(column.dtype, np.dtype)  # others have a value for "missing"
            return _Value(
                "number", column.to_numpy() if whole else column.to_numpy(float, na_value=np.nan), False, name
            )
        if pd.api.types.is_string_dtype(column):
            return _Value("text", column.astype("str"), False, name)
        raise UsageError(explain_column(name, str(column.dtype)))

    def _compare(self, node: ast.Compare) -> Mask:
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        return functools.reduce(np.logical_and, (self._compare_two(*pair) for pair in pairs))

    def _compare_two(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Mask:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._is_in(left, right)
            return found if isinstance(op, ast.In) else ~found
        self._explain_unquoted(left, right)
        self._explain_unquoted(right, left)
        a, b = self._value(left), self._value(right)
        if type(op) not in _COMPARE or (a.one and b.one) or a.kind != b.kind:
            raise UsageError(self._explain_pair(op, a, b))
        if a.kind == "truth" and not isinstance(op, ast.Eq | ast.NotEq):
            raise UsageError(explain_kinds(a.name, a.kind, "number"))
        return _to_mask(_COMPARE[type(op)](a.data, b.data))

    def _is_in(self, left: ast.expr, right: ast.expr) -> Mask:
        if not isinstance(right, ast.List | ast.Tuple):
            raise UsageError(f"in takes a list of values, such as scene in ['0001', '0002'], found {source(right)}")
        for element in right.elts:
            self._explain_unquoted(left, element)
        a, values = self._value(left), [self._value(element) for element in right.elts]
        for value in values:
            if a.one or not value.one or value.kind != a.kind:
                raise UsageError(self._explain_pair(ast.Eq(), a, value))
        if a.kind == "number":
            return _is_among(a.data, [value.data for value in values])
        import pandas as pd

        return _to_mask(pd.Series(a.data).isin([value.data for value in values]))

    def _explain_unquoted(self, left: ast.expr, right: ast.expr) -> None:
        """Refuse a name that is no column but is compared with a column of text: its quotes were forgotten."""
        columns = self._frame.columns
        if not (isinstance(left, ast.Name) and isinstance(right, ast.Name)) or left.id not in columns:
            return
        if right.id not in columns and right.id != ROW_NAME and self._column(left.id).kind == "text":
            raise UsageError(explain_word(left.id, right.id))

    def _explain_pair(self, op: ast.cmpop, a: _Value, b: _Value) -> str:
        if type(op) not in _COMPARE:
            return "write == or != instead of is"
        if a.one and b.one:
            return f"{a.name} and {b.name} are no columns: compare a column with a value"
        column = b if a.one else a
        return explain_comparison(column.name, column.kind, column.data[:1000])

    def _test_text(self, node: ast.Call) -> Mask:
        match node.func:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr="str"), attr=test):
                if test not in _TEXT_TESTS:
                    raise UsageError(explain_node(node))
            case _:
                raise UsageError(explain_node(node))
        column = self._column(name)
        if column.kind != "text":
            raise UsageError(explain_kinds(name, column.kind, "text"))
        if (
            len(node.args) != 1
            or not isinstance(node.args[0], ast.Constant)
            or (text := self._value(node.args[0])).kind != "text"
        ):
            raise UsageError(f"{name}.str.{test} takes one text, such as {name}.str.{test}('0001')")
        return self._find_text(column, test, text.data, node.keywords)

    def _find_text(self, column: _Value, test: str, text: str, keywords: list[ast.keyword]) -> Mask:
        plain = test == "contains" and [ast.unparse(keyword) for keyword in keywords] == ["regex=False"]
        if keywords and not plain:
            raise UsageError(f"{column.name}.str.{test} takes a text and no options (contains: regex=False)")
        if test != "contains":
            return _to_mask(getattr(column.data.str, test)(text, na=False))
        # pandas would take it for a regular expression; another result than there must not come unsaid.
        if not plain and not _REGEX_SIGNS.isdisjoint(text):
            raise UsageError(explain_pattern(column.name, text))
        return _to_mask(column.data.str.contains(text, regex=False, na=False))


def _to_mask(found: Any) -> Mask:
    """Turn what pandas or numpy answers for each sample to bool (N,); no answer is no."""
    mask: Mask = found if isinstance(found, np.ndarray) else found.to_numpy(np.bool_, na_value=False)
    return mask


def _negate(data: Any) -> Any:
    """Negate a number or a column; of integers as 64-bit floating point, because those without a sign would wrap."""
    if isinstance(data, int | float):
        return -data
    return -(_to_float(data) if np.asarray(data).dtype.kind in "iu" else np.asarray(data))


def _to_float(data: Any) -> Any:
    """Widen numbers, so that pixels of a large image do not overflow 32 bits."""
    return np.float64(data) if isinstance(data, int | float) else np.asarray(data, np.float64)


def _is_among(data: NDArray[Any], values: list[float]) -> Mask:
    """Tell which numbers equal one of the values, in the precision of the data as == does."""
    if data.dtype.kind == "f":
        return np.isin(data, np.array(values, data.dtype))
    bounds = np.iinfo(data.dtype)
    whole = [int(value) for value in values if math.isfinite(value) and value == int(value)]
    return np.isin(data, np.array([value for value in whole if bounds.min <= value <= bounds.max], data.dtype))
