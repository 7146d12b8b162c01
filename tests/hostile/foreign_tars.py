"""Tars for `index` that were made elsewhere; the set that it makes is verified."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Case, anything
from tests.hostile.files import shape
from tests.hostile.worlds import World, jpeg, npy, samples, tar

Members = list[tuple[str, bytes]]


def given(data: Callable[[], bytes], name: str = "a.tar") -> Any:
    """Build a folder with one tar."""

    def build(folder: Path, world: World) -> list[str]:
        (folder / "tars").mkdir()
        (folder / "tars" / name).write_bytes(data())
        return ["index", "tars", "made"]

    return build


def made(make: Callable[[Path], None]) -> Any:
    """Build a folder whose tar is no regular file."""

    def build(folder: Path, world: World) -> list[str]:
        (folder / "tars").mkdir()
        make(folder / "tars" / "a.tar")
        return ["index", "tars", "made"]

    return build


def with_member(change: Callable[[tarfile.TarInfo], bytes | None], after: bool = True) -> Callable[[], bytes]:
    """A tar of three samples, and a member of another kind between them."""

    def make() -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as opened:
            for number, (name, data) in enumerate(samples()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
                if number == 1:
                    odd = tarfile.TarInfo("odd.jpg")
                    content = change(odd)
                    opened.addfile(odd, io.BytesIO(content or b""))
        return out.getvalue()

    return make


def kind(typeflag: bytes, to: str = "") -> Callable[[tarfile.TarInfo], bytes | None]:
    """A member of a kind, which may point to another."""

    def change(info: tarfile.TarInfo) -> bytes | None:
        info.type, info.linkname = typeflag, to
        return None

    return change


def patched(place: int, data: bytes, whole: bool = False) -> Callable[[], bytes]:
    """A tar with other bytes at a place of the header of its third member; `whole`: with the right checksum."""

    def make() -> bytes:
        content = bytearray(tar(samples()))
        begin = tarfile.open(fileobj=io.BytesIO(content)).getmembers()[2].offset
        content[begin + place : begin + place + len(data)] = data
        if whole:
            header = bytes(content[begin : begin + 148]) + b" " * 8 + bytes(content[begin + 156 : begin + 512])
            content[begin + 148 : begin + 156] = b"%06o\0 " % sum(header)
        return bytes(content)

    return make


def pax(records: bytes, flag: bytes = b"x") -> Callable[[], bytes]:
    """A tar whose second sample is preceded by an extended header."""

    def make() -> bytes:
        head = tarfile.TarInfo("pax")
        head.type, head.size = flag, len(records)
        body = head.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
        return _before(1) + body + tar(samples())

    return make


def _before(count: int) -> bytes:
    """Whole samples without an end."""
    out = b""
    for name, data in [(f"p{name}", data) for name, data in samples(count)]:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        out += info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)
    return out


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header."""
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def _apart() -> bytes:
    images, depths = ([m for m in samples(8) if m[0].endswith(end)] for end in (".jpg", ".npy"))
    return tar([*images, *depths])


def _sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 30)


def assert_all(folder: Path, said: str) -> None:
    """Assert that all three samples are in the set."""
    assert "3 samples" in said, said


WHOLE = tar(samples())
_RECORD = "[('near', '<f8'), ('far', '<f8'), ('steps', '<u4'), ('planes', '|u1', (2, %s))]"
PARTS: dict[str, bytes] = {
    "text": b"x", "empty": b"", "an .npy of float32": npy(np.ones((12, 16, 3), "<f4")), "a cut array": npy(np.ones((12, 16, 3), "|u1"))[:-1],
    "3 x 2**40": shape("(1099511627776, 1, 3)", "'|u1'"), "an array of objects": shape("(1, 256, 3)", "'|O'"),
    "a record of 2**40": shape("(1,)", _RECORD % "1048576, 1048576"), "a record of text": shape("(1,)", "[('near', '<U9')]"),
    "a record of a record": shape("(1,)", "[" * 90 + "('a', '<f4')" + "]" * 90), "no range": shape("(1,)", _RECORD % "1, 374"),
    "a PBM of 10**18": b"P4\n999999999 999999999\n", "a PBM of 0": b"P4\n0 5\n", "a cut PBM": b"P4\n16 12\n" + bytes(23), "a long PBM": b"P4\n16 12\n" + bytes(25),
}  # fmt: skip
CASES = [
    Case("foreign tars/members apart", given(_apart)),
    Case("foreign tars/a key comes back", given(lambda: tar([*samples(), ("000000.txt", b"again")]))),
    Case("foreign tars/a member twice", given(lambda: tar([*samples(), *samples()[-1:]]))),
    Case("foreign tars/hidden files between", given(
        lambda: tar([m for s in samples() for m in (s, ("._" + s[0], b"mac"))])), assert_all),
    *(
        Case(f"foreign tars/a {label} to {to[:12]!r}", given(with_member(kind(flag, to))), anything)
        for label, flag in (("hard link", tarfile.LNKTYPE), ("symbolic link", tarfile.SYMTYPE))
        for to in ("000000.jpg", "odd.jpg", "/etc/passwd", "../../x", "nowhere", "", "\x1b[2J")
    ),
    *(
        Case(f"foreign tars/a member of type {flag!r}", given(with_member(kind(flag))), anything)
        for flag in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE, b"Z", b"S", b"M", b"V")
    ),
    *(Case(f"foreign tars/byte {place} of a header flipped", given(patched(place, b"\xa5"))) for place in (0, 3, 99, 124, 130, 150, 156, 257, 344)),
    *(
        Case(f"foreign tars/a size of {label}", given(patched(124, size, whole=True)))
        for label, size in (
            ("minus one", b"\xff" * 12), ("2**63", b"\x80\0\0\0\x7f" + b"\xff" * 7), ("2**95", b"\x80" + b"\xff" * 11),
            ("text", b"zzzzzzzzzzz\0"), ("8 GB", b"77777777777\0"), ("a sign", b"-0000000010\0"), ("spaces", b" " * 12),
            ("an underscore", b"0000001_0\0\0\0"),
        )
    ),
    *(Case(f"foreign tars/cut at {share} %", given(lambda share=share: WHOLE[: len(tar(samples()).rstrip(bytes(1))) * share // 100])) for share in (10, 30, 50, 70, 90, 97)),  # type: ignore[misc]
    Case("foreign tars/no end", given(lambda: _before(3))),
    Case("foreign tars/text after the end", given(lambda: WHOLE + b"more" * 1000)),
    Case("foreign tars/a tar after the end", given(lambda: WHOLE + WHOLE)),
    Case("foreign tars/empty", given(lambda: b"")),
    Case("foreign tars/zeros alone", given(lambda: bytes(10240))),
    Case("foreign tars/one zero block", given(lambda: _before(2) + bytes(512) + tar(samples()))),
    Case("foreign tars/a page", given(lambda: b"<html>" * 1000)),
    Case("foreign tars/gzip", given(lambda: gzip.compress(WHOLE)), anything),
    *(
        Case(f"foreign tars/an extended header {flag.decode()} of {label}", given(pax(records, flag)), anything)
        for flag in (b"x", b"g")
        for label, records in (
            ("a size of 5,000 digits", record(b"size", b"9" * 5000)), ("a length of 5,000 digits", b"9" * 5000 + b" a=b\n"),
            ("a negative size", record(b"size", b"-5")), ("no newline", b"20 path=abc"), ("zeros", bytes(512)),
            ("a path of 1 MB", record(b"path", b"a/" * 500_000)), ("a path of controls", record(b"path", b"\x1b[2J.jpg")),
            ("a path outside", record(b"path", b"../../../tmp/x.jpg")), ("no UTF-8", record(b"path", b"\xff\xfe.jpg")),
            ("a million digits", b"1" * 1_000_000), ("900 KB of records", record(b"comment", b"x") * 60_000),
            ("a sparse map", record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"6000000000")),
            ("a number as path", record(b"path", b"\0\0.jpg")),
        )
    ),
    Case("foreign tars/200 keys of 900 KB", given(lambda: b"".join(
        pax(record(b"path", b"%04d" % n + b"k" * 900_000 + b".jpg"))()[:-10240] for n in range(200)) + WHOLE), anything),
    *(Case(f"foreign tars/a member named {name[:16]!r}", given(lambda name=name: tar([*samples(), (name, jpeg())], tarfile.GNU_FORMAT)), anything)  # type: ignore[misc]
      for name in ("a b.jpg", "../x.jpg", "/x.jpg", "a/../b.jpg", "\x1b[2J.jpg", "$(touch canary).jpg", "é.jpg", "x" * 300 + ".jpg", ".jpg", "a.", "-rf.jpg", "a\nb.jpg")),
    *(Case(f"foreign tars/a part .{ext}", given(lambda ext=ext: tar([*samples(), (f"000003.{ext}", b"cos\nsystem\n(S'touch canary'\ntR.")])), anything)  # type: ignore[misc]
      for ext in ("pickle", "pkl", "pyd", "pth", "pt", "ten", "tenbin", "mp", "msg", "cbor", "npz", "depth.pkl", "json", "cls", "txt")),
    *(Case(f"foreign tars/depth is {label}", given(lambda data=data: tar([("a.jpg", jpeg()), ("a.depth.npy", data)])), anything)  # type: ignore[misc]
      for label, data in (("text", b"x"), ("empty", b""), ("of another shape", npy(np.ones((3, 5), "<f4"))))),
    *(Case(f"foreign tars/{part} is {label}", given(lambda part=part, data=data: tar([("a.jpg", jpeg()), (f"a.{part}", data)])), anything)  # type: ignore[misc]
      for part in ("rows.npy", "depth.log16.npy", "valid.pbm") for label, data in PARTS.items()),
    *(Case(f"foreign tars/the image is {label}", given(lambda data=data: tar([("a.rows.npy", data)])), anything)  # type: ignore[misc]
      for label, data in PARTS.items()),
    *(Case(f"foreign tars/the tar is {label}", made(make)) for label, make in (
        ("a pipe", os.mkfifo), ("a folder", Path.mkdir), ("a dangling link", lambda path: path.symlink_to("nowhere")),
        ("a link to itself", lambda path: path.symlink_to(path.name)), ("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero")),
        ("20 GB of nothing", _sparse_file))),
    Case("foreign tars/a shell in its name", given(lambda: WHOLE, "$(touch canary).tar"), anything),
    Case("foreign tars/a control in its name", given(lambda: WHOLE, "a\x1b[2J.tar"), anything),
    Case("foreign tars/half a character in its name", given(lambda: WHOLE, "a\udcff.tar"), anything),
]  # fmt: skip
