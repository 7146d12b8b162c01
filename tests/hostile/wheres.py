"""Queries on the index: code, endless arithmetic, and what is no query."""

from pathlib import Path
from typing import Any

from tests.hostile.case import Case, anything
from tests.hostile.worlds import World

CODE = (
    "@io.open('{canary}','w')", "@pd.io.common.os.system('touch {canary}')", "key.to_csv('{canary}')",
    "key.map(print)", "key.apply(eval)", "key.str.replace('a', '{canary}').to_csv('{canary}')",
    "__import__('os').system('touch {canary}')", "key.__class__", "key.__class__.__base__.__subclasses__()",
    "(lambda: 1)()", "[x for x in key]", "key.pipe(open, 'w')", "index.to_series().to_pickle('{canary}')",
    "@__builtins__['open']('{canary}','w')", "key.values.tofile('{canary}')", "key.to_frame().to_json('{canary}')",
    "height.astype('O').map(exec)", "f'{{open(1)}}' == key", "key := 1", "key if height else width", "height.eval('1')",
    "`key`", "@key == 1", "key.str.cat(sep='x')", "key.str.repeat(10**9)", "key.str.get_dummies()", "*key", "yield key",
    "key.str.match('(a+)+$')", "key.str.contains('(a+)+$')", "print(key)", "key.str.contains(key)", "key[0]", "height[:]",
    "key.str.startswith('a').to_csv('{canary}')", "exec('1')", "eval('1')", "open('{canary}','w')", "key.dtype.type('x')",
)  # fmt: skip
ENDLESS = (
    "9**9**9", "9**9**9 > height", "height > " + "9" * 10_000, "'a' * 10**10 == key", "height << 10**10 > 1",
    "(" * 200 + "height > 1" + ")" * 200, "(" * 100_000, "not " * 5_000 + "height > 1", "-" * 10_000 + "1 < height",
    " and ".join(["height > 1"] * 100_000), "key in [" + "'a'," * 1_000_000 + "]", "height > 1" + " " * 10_000_000,
    "height" + " == height" * 10_000, "1e400 > height", "height > 1j", "0x" + "f" * 5000 + " > height",
)  # fmt: skip
NONE = (
    "", " ", "1", "None", "True", "height", "key", "height + width", "'a'", "height > ", "> 1", "height = 1", "height >< 1",
    "heigth > 1", "scene_type == outdoor", "key == 1", "height == 'x'", "height > 1; key", "height > 1\nkey", "height\x00",
    "\ud800", "ｈeight > 'a'", "key == 'x", "{", "[]", "()", "...", "height in 1", "height in key", "key in 'abc'", "#",
    "height > 1 #" + "\x1b[2J", "import os", "del key", "key == b'x'", "key == None", "lambda: 0", "height is 1",
)  # fmt: skip


def query(text: str) -> Any:
    """Build a question about a set."""

    def build(folder: Path, world: World) -> list[str]:
        (folder / "q.yaml").write_text("")
        words = text.replace("{canary}", str(world.canary)).replace("{{", "{").replace("}}", "}")
        if len(words) > 100_000 or "\x00" in words or "\ud800" in words:  # more than a command line takes
            (folder / "q.yaml").write_bytes(f"where: {_quoted(words)}\n".encode("utf-8", "surrogatepass"))
            return ["inspect", str(world.diode_set), "--config", "q.yaml"]
        return ["inspect", str(world.diode_set), f"--where={words}"]

    return build


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


CASES = [
    *(Case(f"wheres/code: {text[:50]}", query(text)) for text in CODE),
    *(Case(f"wheres/endless: {number} {text[:20]}", query(text), anything) for number, text in enumerate(ENDLESS)),
    *(Case(f"wheres/none: {number} {text[:20]!r}", query(text)) for number, text in enumerate(NONE)),
]  # fmt: skip
