"""Files that torch saved (`encoder.pt`, `*.ckpt`), checked without torch before it reads them: nothing in them is run.

torch.save writes a zip archive of records that are not compressed: `NAME/data.pkl`, a pickle, and the storages of the
tensors. (Until torch 1.5 it wrote pickles with the storages after them.) Here the archive must be so, and its pickle
plain: see `training.torch_pickle`.
"""

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.limits import MAX_CHECKPOINT_BYTES, MAX_PICKLE_BYTES, over
from training.run_files import open_regular
from training.torch_pickle import NotPlain, read_plain

_MAX_RECORDS = 1 << 16  # of an archive; the largest checkpoint of a ResNet-101 has some 2,000
_MAX_NAME_BYTES = 200  # of a record's name, with its entry in the directory
_END, _END64, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56

_LEGACY_NUMBER, _LEGACY_PICKLES = 0x1950A86A20F9469CFC6C, 5  # of an older file: the first of its pickles, their count


def check_torch_file(path: Path, expected: str, most: int = MAX_CHECKPOINT_BYTES) -> None:
    """Check that a file is one of torch.save, of nothing but tensors, numbers, text, lists and dicts.

    What is compressed, larger than the file, or would run code is refused before any of it is in memory.

    Args:
        path: The file.
        expected: What it should be, for the message.
        most: Bytes that are read at most.

    Raises:
        DataError: It is not.
    """
    with open_regular(path) as file:
        try:
            _check(file, path, most)
        except NotPlain as error:
            raise DataError(f"{path}: expected {expected}, found {error}") from error


def is_archive(path: Path) -> bool:
    """Return whether a file begins as a zip archive: records of it can be mapped into memory."""
    with open_regular(path) as file:
        return file.read(4) == b"PK\3\4"


def find_damage(path: Path) -> str | None:
    """Read a checkpoint once and compare the checksum of every record; its pickle is not read.

    Returns:
        None if it is whole, "" if it is missing, else what is wrong with it.

    Source: torch.save writes a zip archive (torch.serialization); a truncated one lacks its central directory, which
    is at the end.
    """
    if not (path.exists() or path.is_symlink()):
        return ""
    try:
        with open_regular(path) as file:
            _check_size(file, path, MAX_CHECKPOINT_BYTES)
            bad = _open_archive(file).testzip()
    except (DataError, NotPlain) as error:
        return str(error)
    except Exception as error:  # zipfile raises errors of many types on damaged records, some without a text
        return str(error) or repr(error)
    return None if bad is None else f"checksum of {bad} does not match"


def _check(file: BinaryIO, path: Path, most: int) -> None:
    size = _check_size(file, path, most)
    first = file.read(16)
    if first.startswith(b"PK"):
        file.seek(0)
        archive = _open_archive(file)
        records = {one.filename: one.file_size for one in archive.infolist()}
        prefix = next(iter(records)).partition("/")[0]
        content = _read_record(archive, f"{prefix}/data.pkl")
        read_plain(content, lambda key: records.get(f"{prefix}/data/{key}", -1), size)
    elif first.startswith(b"\x80"):
        file.seek(0)
        begin = file.read(MAX_PICKLE_BYTES)
        if read_plain(begin, lambda key: None, size)[0] != _LEGACY_NUMBER:
            raise NotPlain("a pickle that torch did not write")
        read_plain(begin, lambda key: None, size, _LEGACY_PICKLES)
    else:
        raise NotPlain(_describe(first))


def _check_size(file: BinaryIO, path: Path, most: int) -> int:
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise DataError(f"{path}: {over(f'{size} bytes', most)}")
    return size


def _describe(first: bytes) -> str:
    """Say what a file is that torch did not save, by its first bytes."""
    if not first:
        return "an empty file"
    if first[8:10] == b'{"':
        return "a safetensors file; save it with torch: torch.save(safetensors.torch.load_file(FILE), NEW)"
    if first.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return "another kind of file"


def _open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open the archive, if it is packed as torch packs.

    Raises:
        NotPlain: It is not, or is damaged.
    """
    size = os.fstat(file.fileno()).st_size
    first = file.read(16)
    if not first.startswith(b"PK"):
        raise NotPlain(_describe(first))
    _check_end(file, size)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises errors of many types on a damaged directory
        raise NotPlain(f"a damaged zip archive ({shorten(escape(str(error) or repr(error)), 100)})") from error
    entries = archive.infolist()
    prefixes = {one.filename.partition("/")[0] for one in entries}
    names = {one.filename for one in entries}
    if len(prefixes) != 1 or (pickled := f"{next(iter(prefixes))}/data.pkl") not in names or len(names) < len(entries):
        raise NotPlain("a zip archive that torch.save did not write")
    if any(name.endswith("/constants.pkl") for name in names):
        raise NotPlain("a TorchScript archive, which is a program; save its state_dict()")
    for one in entries:
        if one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size or one.flag_bits & 1:
            raise NotPlain(f"the compressed record {shorten(escape(one.filename), 100)}; torch.save compresses none")
    if sum(one.file_size for one in entries) > size or min(one.header_offset for one in entries) != 0:
        raise NotPlain("records that lie over each other")
    if (found := archive.getinfo(pickled).file_size) > MAX_PICKLE_BYTES:
        raise NotPlain(f"a pickle of {over(f'{found} bytes', MAX_PICKLE_BYTES)}")
    return archive


def _read_record(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except Exception as error:  # zipfile raises errors of many types on a damaged record
        raise NotPlain(f"a damaged record ({shorten(escape(str(error) or repr(error)), 100)})") from error


def _check_end(file: BinaryIO, size: int) -> None:
    """Check that the directory ends the file and is small, so that every program finds the same one.

    Source: APPNOTE.TXT of PKWARE, 4.3.14 to 4.3.16.
    """
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES - _END64_BYTES))
    tail = file.read()
    file.seek(0)
    end = tail[-_END_BYTES:]
    if len(end) < _END_BYTES or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise NotPlain("a zip archive without its end: it was cut off, or something follows it")
    length, begin = struct.unpack("<II", end[12:20])
    at = size - _END_BYTES
    locator = tail[-_END_BYTES - _LOCATOR_BYTES : -_END_BYTES]
    if locator.startswith(_LOCATOR):
        at -= _LOCATOR_BYTES + _END64_BYTES
        end64 = tail[: -_END_BYTES - _LOCATOR_BYTES]
        if len(end64) != _END64_BYTES or not end64.startswith(_END64) or struct.unpack("<Q", locator[8:16])[0] != at:
            raise NotPlain("a zip archive with two ends")
        length, begin = struct.unpack("<QQ", end64[40:56])
    if begin + length != at or length > _MAX_RECORDS * _MAX_NAME_BYTES:
        raise NotPlain("a zip archive whose directory is in another place than its end says, or too long")
