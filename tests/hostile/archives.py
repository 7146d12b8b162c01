"""Archives of a data set, local and on the web, for `shard diode`."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from tests.hostile import web
from tests.hostile.case import Case, anything
from tests.hostile.foreign_tars import pax, record
from tests.hostile.worlds import SAMPLES, World, shard_words

Change = Callable[[bytes], bytes]


def tree_tar(world: World, extra: Callable[[tarfile.TarFile], None] = lambda tar: None) -> bytes:
    """The DIODE tree as a tar, after extra members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as opened:
        extra(opened)
        opened.add(world.diode / "val", "val")
    return out.getvalue()


def file(change: Callable[[World], bytes], name: str = "val.tar.gz") -> Any:
    """Build an archive."""

    def build(folder: Path, world: World) -> list[str]:
        (folder / name).write_bytes(change(world))
        return shard_words("diode", name)

    return build


def packed(change: Change) -> Any:
    """Build a gzip archive, changed after it was compressed."""
    return file(lambda world: change(gzip.compress(tree_tar(world), 1)))


def with_member(name: str, typeflag: bytes = tarfile.REGTYPE, to: str = "", data: bytes = b"") -> Any:
    """Build an archive that begins with a member."""

    def add(opened: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = typeflag, to, len(data)
        opened.addfile(info, io.BytesIO(data))

    return file(lambda world: gzip.compress(tree_tar(world, add), 1))


def served(answer: Callable[[bytes], web.Answer], query: str = "") -> Any:
    """Build nothing: the archive is on the web."""

    def build(folder: Path, world: World) -> list[str]:
        path = f"/{folder.parent.name}/val.tar.gz"
        url = world.web.serve(path, answer(gzip.compress(tree_tar(world), 1)))
        return shard_words("diode", url + query)

    return build


def assert_all(folder: Path, said: str) -> None:
    """Assert that the set has all samples."""
    assert f"{SAMPLES} samples" in said, said


def _zip(world: World) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("val/a.png", b"x")
    return out.getvalue()


def _zeros(gigabytes: int) -> bytes:
    """Zeros as gzip, in members of 64 MB."""
    return gzip.compress(bytes(64 << 20), 1) * (gigabytes * 16)


VIEW = "val/outdoor/scene_00022/scan_00005/00022_00005_outdoor_000_010.png"
CASES = [
    *(Case(f"archives/cut at {share} %", packed(lambda data, share=share: data[: len(data) * share // 100])) for share in (0, 1, 20, 50, 80, 99)),  # type: ignore[misc]
    *(Case(f"archives/a bit at {share} %", packed(lambda data, share=share: _flip(data, share))) for share in (10, 30, 50, 70, 90)),  # type: ignore[misc]
    Case("archives/text after the end", packed(lambda data: data + b"more text"), anything),
    Case("archives/zeros after the end", packed(lambda data: data + bytes(4096)), assert_all),
    Case("archives/an empty gzip member before", packed(lambda data: gzip.compress(b"") + data), assert_all),
    Case("archives/two gzip members", file(lambda world: b"".join(gzip.compress(part) for part in _halves(tree_tar(world)))), assert_all),
    Case("archives/a gzip in a gzip", packed(lambda data: gzip.compress(data))),
    Case("archives/the name of a file", packed(lambda data: _named(data, b"\x1b[2J" * 50)), assert_all),
    Case("archives/no tar", file(lambda world: gzip.compress(b"text" * 10_000))),
    Case("archives/a page", file(lambda world: b"<html>Sign in\x1b[2J</html>")),
    Case("archives/a zip", file(_zip)),
    Case("archives/4 GB of zeros", file(lambda world: _zeros(4))),
    Case("archives/a zstd bomb", file(lambda world: zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 30)), "val.tar.zst")),
    Case("archives/a zstd window of 2 GB", file(lambda world: b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(100), "val.tar.zst")),
    Case("archives/zstd", file(lambda world: zstandard.compress(tree_tar(world)), "val.tar.zst"), assert_all),
    Case("archives/a plain tar", file(tree_tar, "val.tar"), assert_all),
    *(
        Case(f"archives/a member of {label}", with_member(*member), assert_all)
        for label, member in {
            "an absolute path": ("/etc/cron.d/x",), "a path outside": ("../../../x",), "a link outside": (VIEW + "x", tarfile.SYMTYPE, "/etc/passwd"),
            "controls": ("val/\x1b[2J",), "a device": ("val/dev", tarfile.CHRTYPE), "a pipe": ("val/fifo", tarfile.FIFOTYPE),
            "half a character": ("val/\udcff",), "a long name": ("val/" + "x" * 5000,), "300 MB": ("val/x.bin", tarfile.REGTYPE, "", bytes(300 << 20)),
            "no name": ("",), "a dot": (".",),
        }.items()
    ),
    *(
        # The sound view follows it: what is no file is passed over.
        Case(f"archives/a view that is {label}, and one that is sound", with_member(VIEW, *member), assert_all if member else None)
        for label, member in {
            "a hard link": (tarfile.LNKTYPE, "nowhere"), "a symbolic link": (tarfile.SYMTYPE, "nowhere"), "a folder": (tarfile.DIRTYPE,),
            "a pipe": (tarfile.FIFOTYPE,), "of 300 MB": (tarfile.REGTYPE, "", bytes(300 << 20)), "empty": (),
        }.items()
    ),
    *(
        Case(f"archives/an extended header of {label}", file(lambda world, records=records: gzip.compress(pax(records)())))  # type: ignore[misc]
        for label, records in {
            "900 KB of records": record(b"comment", b"x") * 60_000, "a million digits": b"1" * 1_000_000,
            "equal signs": b"=" * 900_000, "spaces": b" " * 900_000, "newlines": b"\n" * 900_000,
            "a size of 5,000 digits": record(b"size", b"9" * 5000), "a length of 5,000 digits": b"9" * 5000 + b" a=b\n",
        }.items()
    ),
    Case("archives/600 extended headers of 1 MB", file(lambda world: gzip.compress(b"".join([pax(record(b"comment", b"x" * 999_000))()[1024:1_002_000]] * 60), 1))),
    Case("web archives/as it should be", served(web.sends_file), assert_all),
    Case("web archives/no ranges", served(lambda data: web.sends(200, {"Content-Length": str(len(data))}, data)), anything),
    *(Case(f"web archives/a length of {length!r}", served(lambda data, length=length: web.sends_file(data, Content_Length=length)), anything)  # type: ignore[misc]
      for length in ("abc", "-1", "9" * 400, "1e3", "0", "7", "")),
    *(Case(f"web archives/a range of {text!r}", served(lambda data, text=text: web.sends_file(data, Content_Range=text)), anything)  # type: ignore[misc]
      for text in ("abc", "bytes */*", "bytes 5-1/3", "bytes 0-1/" + "9" * 400, "", "bytes 0--1/10")),
    *(Case(f"web archives/status {status}", served(lambda data, status=status: web.sends(status, {"Content-Length": "0"})))  # type: ignore[misc]
      for status in (204, 301, 400, 401, 403, 404, 405, 410, 416, 451)),
    Case("web archives/a reason of controls", served(lambda data: web.sends(403, {"Content-Length": "0"}, reason="No\x1b[2J\x07"))),
    Case("web archives/no HTTP", served(lambda data: web.sends_raw(b"\x16\x03\x01 hello\r\n\r\n")), anything),
    Case("web archives/a header of 1 MB", served(lambda data: web.sends(200, {"X": "y" * 1_000_000}))),
    Case("web archives/10,000 headers", served(lambda data: web.sends(200, {f"X{n}": "y" for n in range(10_000)}))),
    Case("web archives/a page", served(lambda data: web.sends_file(b"<html>Sign in</html>" * 100))),
    *(Case(f"web archives/a redirect to {to[:24]!r}", served(lambda data, to=to: web.redirects(to)))  # type: ignore[misc]
      for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "", "http://[bad", "javascript:1", "//", "data:,x", "\x1b[2J")),
    Case("web archives/a redirect to itself", served(lambda data: _circle)),
    *(Case(f"web archives/another file by {label}", served(lambda data, changed=changed: web.sends_file(data, **changed)), anything)  # type: ignore[misc]
      for label, changed in {"no ETag": {"ETag": ""}, "an ETag of controls": {"ETag": '"\x1b[2J"'}, "gzip": {"Content-Encoding": "gzip"},
                             "chunks": {"Transfer-Encoding": "chunked"}}.items()),
]  # fmt: skip


def _flip(data: bytes, share: int) -> bytes:
    place = len(data) * share // 100
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def _halves(data: bytes) -> tuple[bytes, bytes]:
    return data[: len(data) // 2], data[len(data) // 2 :]


def _named(data: bytes, name: bytes) -> bytes:
    """Put the name of the original file into the header of a gzip file that has none."""
    return data[:3] + bytes([data[3] | 8]) + data[4:10] + name + b"\0" + data[10:]


def _circle(request: Any) -> None:
    web.redirects(request.path)(request)
