"""Files of torch.save, and files that say they are: nothing in them is run, and none takes memory or time."""

import contextlib
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.limits import MAX_PICKLE_BYTES
from training.network.saved import load_saved
from training.torch_file import check_torch_file, find_damage

EXPECTED = "weights"


class Canary:
    """Pickles as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def repacked(content, change=lambda name, data: data, compression=zipfile.ZIP_STORED, more=()):
    """The archive again, its records changed, by another writer of zip files."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w", compression) as after:
        for one in before.infolist():
            after.writestr(one.filename, change(one.filename, before.read(one)))
        for name, data in more:
            after.writestr(name, data)
    return file.getvalue()


def with_pickle(data, record=b"\0\0\0\0"):
    """An archive whose pickle is `data`, with one storage."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("data.pkl", data), ("byteorder", b"little"), ("data/0", record), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def number(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def tensor_pickle(numel=1, size=(1,), stride=(1,), offset=0, kind="FloatStorage", rebuild="_rebuild_tensor_v2"):
    """The pickle of a tensor that claims what it likes."""
    storage = b"(" + text("storage") + name("torch", kind) + text("0") + text("cpu") + number(numel) + b"tQ"
    shapes = b"".join(b"(" + b"".join(map(number, one)) + b"t" for one in (size, stride))
    hooks = name("collections", "OrderedDict") + b")R"
    call = name("torch._utils", rebuild) + b"(" + storage + number(offset) + shapes + b"\x89" + hooks + b"tR"
    return b"\x80\x02" + call + b"."


def refusal(tmp_path, content):
    """The message, which is one short line without torch's advice to run what is in the file."""
    file = tmp_path / "file.pt"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_saved(file, EXPECTED)
    message = str(caught.value)
    assert message.startswith(f"{file}: expected weights, found ")
    assert message.isprintable()
    assert len(message) < 600
    assert "weights_only" not in message
    return message.removeprefix(f"{file}: expected weights, found ")


STATE = {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(3), "names": ["a", ("b", 2.5, None, True)]}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["archive", "legacy"])
def test_plain_values_are_loaded_as_they_were(tmp_path, options):
    file = tmp_path / "file.pt"
    shared = torch.arange(10.0)
    content = STATE | {
        "views": [shared[2:5], shared[::2], shared.view(2, 5).T, shared[:1].expand(4)],
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.float64, torch.bool)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0, 3),
        "ordered": OrderedDict(x=torch.Size([1, 2])),
        "module": torch.nn.Linear(2, 2).state_dict(),
    }
    file.write_bytes(saved(content, **options))
    check_torch_file(file, EXPECTED)
    found = load_saved(file, EXPECTED)
    assert [torch.equal(one, other) for one, other in zip(found["views"], content["views"], strict=True)] == [True] * 4
    assert [one.dtype for one in found["kinds"]] == [one.dtype for one in content["kinds"]]
    assert torch.equal(found["weight"], STATE["weight"])
    assert (found["names"], found["ordered"], found["empty"].shape) == (content["names"], {"x": (1, 2)}, (0, 3))
    assert found["module"].keys() == {"weight", "bias"}


def test_what_a_gpu_has_saved_is_loaded_onto_the_cpu(tmp_path):
    """Its storages are marked with the device that they were on, which there need not be here."""
    marked = repacked(saved(STATE), lambda name, data: data.replace(text("cpu"), text("cuda:1")))
    assert marked.count(text("cuda:1")) == 1  # named once, then referred to
    file = tmp_path / "file.pt"
    file.write_bytes(marked)
    check_torch_file(file, EXPECTED)
    found = load_saved(file, EXPECTED)
    assert found["weight"].device == torch.device("cpu")
    assert torch.equal(found["weight"], STATE["weight"])


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["archive", "legacy"])
def test_nothing_in_a_file_is_run(tmp_path, options):
    canary = tmp_path / "canary"
    assert ".open in it" in refusal(tmp_path, saved({"a": Canary(canary)}, **options))
    assert ".open in it" in refusal(tmp_path, pickle.dumps(Canary(canary), 2))
    assert "a pickle of protocol 4" in refusal(tmp_path, pickle.dumps(Canary(canary), 4))
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists(), "the canary must sing where it can"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (name("builtins", "bytearray") + number(6 << 30) + b"\x85R", "builtins.bytearray in it"),
        (name("torch", "Tensor") + number(10**10) + b"\x85R", "torch.Tensor in it"),
        (name("_codecs", "encode") + text("a" * 99) + text("idna") + b"\x86R", "_codecs.encode in it"),
        (name("torch._utils", "_rebuild_parameter") + text("x") + b"\x85R", "a parameter that is no tensor"),
        (name("torch._utils", "_rebuild_tensor_v2") + b")R", "a damaged pickle"),
        (name("torch._utils", "_rebuild_tensor_v2") + b"N}" + text("_call") + text("x") + b"s\x86b", "a change of"),
        (name("torch", "Size") + name("torch", "Size") + b"\x85R", "a damaged pickle"),
        (b"r\xff\xff\xff\x7f", "a memo of 2147483647 entries"),
        (b"(" * 10, "a damaged pickle"),
        (b"I" + b"9" * 5000 + b"\n", "a damaged pickle|instruction INT"),
        (text("x") + b"Q", "a storage that is not written as torch does"),
        (b"ios\nsystem\n", "a damaged pickle|instruction INST"),
        (b"\x82\x01", "instruction EXT1"),
        (b"\x8e" + b"\xff" * 8, "a damaged pickle"),
        (name("\x1b[31mred", "x"), r"\\x1b\[31mred"),
        (name("x" * 10**5, "y"), "x{20}"),
    ],
)
def test_a_pickle_of_other_things_is_refused_before_it_is_read(tmp_path, code, said):
    assert re.search(said, refusal(tmp_path, with_pickle(b"\x80\x02" + code + b".")))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"numel": 10**9}, "4 bytes for a storage of 4000000000"),
        ({"numel": 0}, "4 bytes for a storage of 0"),
        ({"numel": -1}, "a storage that is not"),
        ({"numel": 2**70}, "a storage that is not"),
        ({"size": (10**10,), "stride": (1,)}, "a tensor of 10000000000 numbers that reaches beyond its storage of 1"),
        ({"offset": 1}, "reaches beyond"),
        ({"offset": -1}, "not built as torch does"),
        ({"size": (1, 1)}, "not built as torch does"),
        ({"size": (2,), "stride": (-1,)}, "not built as torch does"),
        ({"kind": "ComplexFloatStorage"}, "torch.ComplexFloatStorage in it"),
        ({"kind": "QInt8Storage"}, "torch.QInt8Storage in it"),
        ({"kind": "DoubleStorage"}, "4 bytes for a storage of 8"),
        ({"rebuild": "_rebuild_sparse_tensor"}, "torch._utils._rebuild_sparse_tensor in it"),
    ],
)
def test_a_tensor_that_claims_more_than_its_storage_is_refused(tmp_path, claims, said):
    assert said in refusal(tmp_path, with_pickle(tensor_pickle(**claims)))


def test_the_same_by_hand_without_such_claims_is_loaded(tmp_path):
    (tmp_path / "file.pt").write_bytes(with_pickle(tensor_pickle(), struct.pack("<f", 2.5)))
    assert load_saved(tmp_path / "file.pt", EXPECTED).tolist() == [2.5]
    (tmp_path / "file.pt").write_bytes(with_pickle(tensor_pickle(size=(10**10,), stride=(0,))))
    assert load_saved(tmp_path / "file.pt", EXPECTED).shape == (10**10,)  # takes no memory: its shape is checked later


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"", "an empty file"),
        (lambda: b"weights: none\n", "another kind of file"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
        (lambda: struct.pack("<Q", 60) + b'{"weight":{"dtype":"F32"}}', "a safetensors file; save it with torch"),
        (lambda: saved(STATE)[:-1], "without its end"),
        (lambda: saved(STATE) + b"more", "without its end"),
        (lambda: b"PK\x05\x06" + bytes(18), "a zip archive that torch.save did not write|a damaged zip archive"),
        (lambda: repacked(saved(STATE), compression=zipfile.ZIP_DEFLATED), "the compressed record"),
        (lambda: repacked(saved(STATE), compression=zipfile.ZIP_BZIP2), "the compressed record"),
        (lambda: repacked(saved(STATE), more=[("other/data.pkl", b"")]), "torch.save did not write"),
        (lambda: repacked(saved(STATE), more=[("archive/constants.pkl", b"")]), "TorchScript"),
        (lambda: with_pickle(b"]" * (MAX_PICKLE_BYTES + 1)), f"a pickle of {MAX_PICKLE_BYTES + 1} bytes; at most"),
        (lambda: pickle.dumps({"a": 1}, 2), "a pickle that torch did not write"),
        (lambda: pickle.dumps({"a": 1}, 4), "a pickle of protocol 4, where torch writes 2"),
        (lambda: saved(STATE, _use_new_zipfile_serialization=False)[:300], "a damaged pickle"),
        (lambda: saved(STATE, _use_new_zipfile_serialization=False)[:-9], "damage"),
    ],
)
def test_another_kind_of_file_is_refused_by_what_it_is(tmp_path, make, said):
    assert re.search(said, refusal(tmp_path, make()))


def test_records_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = repacked(saved(STATE), more=[("archive/data.pkl", b"\x80\x02N.")])
    assert refusal(tmp_path, content) == "a zip archive that torch.save did not write"


def test_an_archive_with_two_directories_is_refused(tmp_path):
    """The locator tells one place, the end of the file another: programs would find other records."""
    content = bytearray(saved(STATE))
    at = content.rindex(b"PK\x06\x07") + 8
    content[at : at + 8] = struct.pack("<Q", 64)
    assert refusal(tmp_path, bytes(content)) == "a zip archive with two ends"
    inner = saved(STATE)
    assert "in another place" in refusal(tmp_path, b"PK" + bytes(98) + inner[:-98] + inner[-22:])


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path / "pipe", "expected a regular file that can be read: it is a FIFO"),
        (tmp_path, "expected a regular file that can be read: Is a directory"),
        (Path("/dev/zero"), "expected a regular file that can be read: it is a device"),
        (tmp_path / "none", "expected a regular file that can be read: No such file"),
    ]:
        with pytest.raises(DataError, match=said):
            check_torch_file(path, EXPECTED)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "file.pt").write_bytes(saved(STATE))
    with pytest.raises(DataError, match=r"file\.pt: \d+ bytes; at most 100 are read \(DEPTHSTREAM_LIMITS"):
        check_torch_file(tmp_path / "file.pt", EXPECTED, 100)


def test_a_compressed_archive_takes_no_memory(tmp_path):
    file = tmp_path / "bomb.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(numel=3 << 29, size=(3 << 29,)))
        with archive.open("archive/data/0", "w", force_zip64=True) as record:
            for _ in range(24):
                record.write(bytes(1 << 20))
    code = f"""
import resource, sys
from pathlib import Path
from sharding.errors import DataError
from training.torch_file import check_torch_file, find_damage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check_torch_file(Path({str(file)!r}), "weights")
except DataError as error:
    print(error)
print(find_damage(Path({str(file)!r})))
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB
assert "torch" not in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("the compressed record archive/data") == 2


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.data())
def test_a_file_with_changed_bytes_is_loaded_or_refused(tmp_path_factory, data):
    content = bytearray(WHOLE[data.draw(st.integers(0, len(WHOLE) - 1))])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.pt"
    file.write_bytes(content)
    with contextlib.suppress(DataError):
        load_saved(file, EXPECTED)
    assert find_damage(file) != ""


WHOLE = [saved(STATE), saved(STATE, _use_new_zipfile_serialization=False), with_pickle(tensor_pickle())]
