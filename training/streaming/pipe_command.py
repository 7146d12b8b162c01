"""The command of `--pipe` as a script of the shell, which gets a shard's address as its parameter `$1`, never as text.

zstd -dc {url}        zstd -dc "$1"
zstd -dc "{url}"      zstd -dc "${1}"
zstd -dc '{url}'      zstd -dc ''"$1"''
sh -c 'cat {url}'     refused: the second shell would execute the address as a part of its command
"""

import re

from sharding.errors import UsageError

URL_FIELD = "{url}"
"""Placeholder in a command for a shard's path or URL; `"$1"` is the same."""

_FIELD = re.compile(r"\$?\{url\}")
_HAS_PLACE = re.compile(r"\$1|\$\{1\b")
_QUOTED = r"""'[^']*'|"(?:\\.|[^"\\])*\""""
_PIECE = re.compile(rf"{_QUOTED}|\\.|[^\\'\"]+", re.DOTALL)
# A word is what the shell gives a program as one argument; all between words is blank, or an operator.
_WORD = re.compile(rf"(?:{_QUOTED}|\\.|[^\s<>;|&()`\\'\"])+|[\s<>;|&()`]+", re.DOTALL)
_COMMAND_SIGN = re.compile(r"[\s<>;|()`]|&&")


def to_script(command: str) -> str:
    """Translate a command with `{url}` to a script of the shell in which that is the first parameter.

    Raises:
        UsageError: The command has no place for the address, has an unclosed quote, or has the place within a quoted
            command; the text does not show the command, which may contain a key.
    """
    words = [found[0] for found in _WORD.finditer(command)]
    if len("".join(words)) != len(command):
        raise UsageError("--pipe: expected a command, found a quote that is not closed, or a backslash at the end")
    script = "".join(_fill_word(word) if _FIELD.search(word) else word for word in words)
    if not _HAS_PLACE.search(script):
        raise UsageError(f"--pipe: expected a command with {URL_FIELD} in it, such as 'zstd -dc {URL_FIELD}'")
    return script


def _fill_word(word: str) -> str:
    pieces = [found[0] for found in _PIECE.finditer(word)]
    if any(_COMMAND_SIGN.search(_FIELD.sub("", piece[1:-1] if piece[0] in "'\"" else piece)) for piece in pieces):
        raise UsageError(
            f"--pipe: {URL_FIELD} stands within quotes together with other words, as in sh -c 'cat {URL_FIELD}'; there "
            f'it could be executed: write sh -c \'cat "$1"\' sh {URL_FIELD}, or "$1" for {URL_FIELD} within a text'
        )
    return "".join(_FIELD.sub(_parameter(piece), piece) for piece in pieces)


def _parameter(piece: str) -> str:
    """Return how the parameter is written within a piece, so that it is one word whatever it contains."""
    return {"'": "'\"$1\"'", '"': "${1}"}.get(piece[0], '"$1"')
