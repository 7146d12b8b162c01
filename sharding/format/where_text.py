"""The text of a condition (`--where`) as a syntax tree, bounded before Python's parser sees it. Executes nothing."""

import ast
import io
import keyword
import tokenize
import warnings

from sharding.errors import UsageError
from sharding.escaping import shorten
from sharding.limits import MAX_WHERE_CHARS, MAX_WHERE_DEPTH, MAX_WHERE_WORDS, over

EXAMPLE = "scene_type == 'outdoor' and height > 500"
"""A condition, for messages."""

_OPERATORS = {*("( ) [ ] , . == != < <= > >= + - * / % ~ & |".split()), "="}  # "=" only for regex=False
_WORDS = {"and", "or", "not", "in", "is", "True", "False", "None"}  # the keywords that have a meaning or a hint
_CLOSING = (tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER)
_MAX_NUMBER_CHARS = 40  # more than any number of 64 bits needs


def parse_where(text: str) -> ast.expr:
    """Parse a condition, in which `&` and `|` mean `and` and `or`, as in a query of pandas.

    Raises:
        UsageError: It is no expression, or longer or deeper than the limits, or has a word or sign of Python that no
            condition has; the message says only why.
    """
    if len(text) > MAX_WHERE_CHARS:
        raise UsageError(over(f"{len(text)} characters", MAX_WHERE_CHARS))
    text = text.strip()
    if not text:
        raise UsageError(f'expected a condition, found nothing; write it as "{EXAMPLE}"')
    if len(text.splitlines()) > 1:
        raise UsageError("expected one line; in YAML, write >- in front of a condition of several lines")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape such as '\d' in a text makes Python warn
            tree = ast.parse(_translate(text), mode="eval").body
    except UsageError:
        raise
    except (MemoryError, RecursionError) as error:
        raise UsageError(_too_deep()) from error
    except (SyntaxError, tokenize.TokenError) as error:
        raise UsageError(_not_parsed(str(error.args[0]))) from error
    except ValueError as error:  # half characters, and numbers that Python does not read
        raise UsageError(_not_parsed(str(error))) from error
    _check_depth(tree)
    return tree


def conjoin(where: str | None, condition: str) -> str:
    """Join two conditions, each of which is one by itself, to the condition that both hold; None is no condition."""
    return condition if where is None else f"({where.strip()}) and ({condition})"


def _translate(text: str) -> str:
    """Replace `&` and `|` outside of texts by `and` and `or`, after a check of every token."""
    done, begin, words, before = [], 0, 0, tokenize.ENCODING
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        words += token.type in (tokenize.NAME, tokenize.OP) and token.string != ","
        if words > MAX_WHERE_WORDS:
            raise UsageError(over("too many names and operators", MAX_WHERE_WORDS))
        _check_token(token)
        if token.type == before == tokenize.STRING:  # Python would join them without a word
            raise UsageError(f"expected a comma or an operator before {shorten(token.string, 40)}, found none")
        before = token.type
        if token.type == tokenize.OP and token.string in "&|":
            done += [text[begin : token.start[1]], " and " if token.string == "&" else " or "]
            begin = token.end[1]
    return "".join(done) + text[begin:]


def _check_token(token: tokenize.TokenInfo) -> None:
    """Refuse what no condition has, so that the parser gets only the simplest part of Python."""
    text = token.string
    if token.type == tokenize.NUMBER:
        known = len(text) <= _MAX_NUMBER_CHARS
    elif token.type == tokenize.STRING:
        known = text[: min(text.find(quote) for quote in "'\"" if quote in text)].lower() in ("", "r", "u")
    elif token.type == tokenize.NAME:
        known = not keyword.iskeyword(text) or text in _WORDS
    elif token.type == tokenize.OP:
        known = text in _OPERATORS
    else:
        unclosed = token.type == tokenize.ERRORTOKEN and text in " '\""  # for the parser to say so
        known = unclosed or token.type in _CLOSING
    if not known:
        raise UsageError(_not_parsed(f"{shorten(text, 40)!r} is not understood"))


def _check_depth(tree: ast.AST) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_WHERE_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise UsageError(_too_deep())


def _too_deep() -> str:
    return f"nested too deeply; at most {MAX_WHERE_DEPTH} levels are read"


def _not_parsed(reason: str) -> str:
    return f'not a condition ({shorten(" ".join(reason.split()), 120)}); write it as "{EXAMPLE}"'
