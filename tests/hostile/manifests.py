"""Manifests, ledgers and quarantines: each field with each wrong value, and files that are no manifest."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.case import Case, anything
from tests.hostile.worlds import World

WRONG: dict[str, Any] = {
    "null": None, "a list": [], "an object": {"a": 1}, "negative": -1, "huge": 2**70, "a fraction": 1.5, "text": "x\x1b[2J",
    "true": True, "nested": [[[[{"a": [1]}]]]],
}  # fmt: skip
FIELDS = ("name", "dataset", "split", "tool", "made", "source", "codecs", "samples", "quarantined", "index_sha256")
SHARD_FIELDS = ("name", "samples", "bytes", "sha256", "compression")
NAMES = ("/dev/zero", "../../x", "shards/../../x", "shards/\x00", "shards/a b", "shards/$(touch canary)", "shards/.x", "",
         "shards/", "shards/a\nb", "shards/é", "shards//x", "shards/a/b", "s3://b/x", "file:///etc/passwd", "~/x",
         "shards/\x1b]0;x\x07", "x" * 10**6)  # fmt: skip


def edited(change: Callable[[dict[str, Any]], Any], words: tuple[str, ...] = ("verify", "set")) -> Any:
    """Build a set whose manifest was changed, with derived fields that follow from it."""

    def build(folder: Path, world: World) -> list[str]:
        path = world.copy_set(folder) / "manifest.json"
        content = json.loads(path.read_text())
        content = change(content) or content
        path.write_text(json.dumps(content))
        return list(words)

    return build


def raw(data: Callable[[bytes], bytes]) -> Any:
    """Build a set whose manifest has other bytes."""

    def build(folder: Path, world: World) -> list[str]:
        path = world.copy_set(folder) / "manifest.json"
        path.write_bytes(data(path.read_bytes()))
        return ["inspect", "set"]

    return build


def put(field: str, value: Any) -> Any:
    """Change a field."""
    return edited(lambda content: content.update({field: value}))


def put_in_shard(field: str, value: Any) -> Any:
    """Change a field of the first shard."""
    return edited(lambda content: content["shards"][0].update({field: value}))


def _right_text(field: str, label: str) -> bool:
    """Tell whether the value is one that the field may have."""
    free = {"made": ("an object",), "source": ("an object",), "codecs": ("an object",)}
    return label in free.get(field, ())


CASES = [
    *(
        Case(f"manifests/{field} is {label}", put(field, value), anything if _right_text(field, label) else None)
        for field in FIELDS
        for label, value in WRONG.items()
        if not (label == "text" and field in ("name", "dataset", "split", "tool"))
    ),
    *(Case(f"manifests/{field} is text", put(field, WRONG["text"]), anything) for field in ("name", "tool")),
    *(
        Case(f"manifests/{field} of a shard is {label}", put_in_shard(field, value))
        for field in SHARD_FIELDS
        for label, value in WRONG.items()
    ),
    *(Case(f"manifests/a shard named {name[:20]!r}", put_in_shard("name", name)) for name in NAMES),
    *(
        Case(f"manifests/no {field}", edited(lambda content, field=field: content.pop(field) and None))  # type: ignore[misc]
        for field in ("shards", "identity", "format", *FIELDS)
    ),
    *(Case(f"manifests/shards is {label}", put("shards", value)) for label, value in WRONG.items()),
    *(
        Case(f"manifests/format is {label}", put("format", value))
        for label, value in (WRONG | {"newer": 99}).items()
    ),
    Case("manifests/a shard twice", edited(lambda content: content["shards"].append(content["shards"][0]))),
    Case("manifests/no shard", edited(lambda content: content["shards"].clear())),
    Case("manifests/100,000 shards", edited(lambda content: content["shards"].extend(content["shards"] * 33_000))),
    Case("manifests/a list", edited(lambda content: [content])),
    Case("manifests/a number", raw(lambda data: b"1e999")),
    Case("manifests/empty", raw(lambda data: b"")),
    Case("manifests/cut", raw(lambda data: data[: len(data) // 2])),
    Case("manifests/zeros", raw(lambda data: bytes(1000))),
    Case("manifests/binary", raw(lambda data: bytes(range(256)) * 10)),
    Case("manifests/UTF-16", raw(lambda data: data.decode().encode("utf-16"))),
    Case("manifests/gzip", raw(gzip.compress)),
    Case("manifests/NaN", raw(lambda data: data.replace(b'"samples": 3', b'"samples": NaN'))),
    Case("manifests/half a character", raw(lambda data: data.replace(b'"split": "val"', b'"split": "\\ud800"'))),
    Case("manifests/a field twice", raw(lambda data: data.replace(b'"samples": 3', b'"samples": 4, "samples": 3')), anything),
    Case("manifests/10,000 digits", raw(lambda data: data.replace(b'"samples": 3', b'"samples": ' + b"3" * 10_000))),
    Case("manifests/100,000 brackets", raw(lambda data: b"[" * 100_000)),
    Case("manifests/100,000 objects", raw(lambda data: b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    Case("manifests/200 MB", raw(lambda data: data[:-2] + b" " * 200_000_000 + data[-2:])),
    Case("manifests/text of 50 MB", put("tool", "x" * 50_000_000)),
    Case("manifests/an HTML page", raw(lambda data: b"<!DOCTYPE html><html>Sign in\x1b[31m</html>")),
]  # fmt: skip
