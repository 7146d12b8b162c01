import io
import os
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

from sharding.checking.verify import run as verify
from sharding.codecs.npy import encode_npy
from sharding.config import IndexConfig, VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making.check import check_index
from sharding.making.index_tars import run
from sharding.reading.shard_set import ShardSet

webdataset = pytest.importorskip("webdataset")


def depth_map(number):
    depth = np.full((6, 8), number + 1.0, np.float32)
    depth[0, 0] = 0
    return depth


@pytest.fixture
def tars(tmp_path):
    """Two tars by webdataset's own writer: seven samples with an image, a depth map and a class."""
    folder = tmp_path / "tars"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "mine-%04d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(7):
            pixels = np.full((6, 8, 3), number, np.uint8)
            writer.write(
                {
                    "__key__": f"Sub/Sample{number}",
                    "png": pixels,
                    "depth.npy": encode_npy(depth_map(number)),
                    "cls": number,
                }
            )
    return folder


def test_tars_made_elsewhere_become_a_set(tars, tmp_path):
    outcome = run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    assert outcome.data["samples"] == 7
    assert outcome.data["skipped"] == {"cls": 7}
    opened = ShardSet(tmp_path / "set")
    for number in range(7):
        sample = opened[number]
        assert sample.key == f"Sub/Sample{number}"
        assert (sample.image == number).all()
        np.testing.assert_array_equal(sample.depth, depth_map(number))
        np.testing.assert_array_equal(sample.valid, depth_map(number) > 0)
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_names_in_capitals_are_read_by_their_own_spelling(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (8, 6), (10, 20, 30)).save(picture, "PNG")
    with tarfile.open(tmp_path / "camera.tar", "w") as tar:
        for number in range(3):
            for ext, data in (("PNG", picture.getvalue()), ("depth.npy", encode_npy(depth_map(number)))):
                info = tarfile.TarInfo(f"DSC{number}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    run(IndexConfig(tars=str(tmp_path / "camera.tar"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    assert opened.index["image_ext"].tolist() == ["PNG"] * 3
    assert [sample.depth[1, 1] for sample in opened.read(range(3))] == [1, 2, 3]
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).data["faults"] == []


@pytest.mark.parametrize(
    ("ext", "problem"),
    [
        ("Depth.npy", r"capitals\.tar, key a: expected a member named KEY\.depth\.npy, found a\.Depth\.npy: rename it"),
        ("VALID.npy", r"capitals\.tar, key a: expected a member named KEY\.valid\.npy, found a\.VALID\.npy: rename it"),
        ("depth.NPY", r"capitals\.tar, key a: depth part \.NPY: expected one of planes\.npy, npy, log16\.png"),
    ],
)
def test_a_part_that_no_reader_would_find_again_is_refused(tmp_path, ext, problem):
    write_tar(tmp_path / "capitals.tar", {"a.png": png(), f"a.{ext}": encode_npy(depth_map(0))})
    with pytest.raises(DataError, match=problem):
        run(IndexConfig(tars=str(tmp_path / "capitals.tar"), set=str(tmp_path / "set")))


def test_the_names_of_what_has_no_image_do_not_matter(tmp_path):
    write_tar(tmp_path / "some.tar", {"a.Depth.npy": b"", "b.png": png(), "c.VALID.npy": b""})
    done = run(IndexConfig(tars=str(tmp_path / "some.tar"), set=str(tmp_path / "set")))
    assert done.data["samples"] == 1
    assert list(ShardSet(tmp_path / "set").index["key"]) == ["b"]


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def png():
    picture = io.BytesIO()
    Image.new("RGB", (8, 6)).save(picture, "PNG")
    return picture.getvalue()


def test_the_tars_are_not_changed_and_not_copied(tars, tmp_path):
    before = {path.name: path.read_bytes() for path in tars.iterdir()}
    run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    assert {path.name: path.read_bytes() for path in tars.iterdir()} == before
    assert all(path.is_symlink() for path in (tmp_path / "set/shards").iterdir())


def test_a_compressed_tar_is_refused_with_advice(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(DataError, match="expected a tar"):
        run(IndexConfig(tars=str(path), set=str(tmp_path / "set")))


def test_a_broken_image_names_tar_and_key(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("x.png")
        info.size = 60
        tar.addfile(info, io.BytesIO(buffer.getvalue()[:60]))
    with pytest.raises(DataError, match=r"a\.tar, key x"):
        run(IndexConfig(tars=str(tmp_path), set=str(tmp_path / "set")))


def test_an_existing_set_is_not_overwritten(tars, tmp_path):
    run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))
    with pytest.raises(UsageError, match="holds a set already"):
        run(IndexConfig(tars=str(tars), set=str(tmp_path / "set")))


def npy(shape=(6, 8), dtype=np.float32, value=1):
    return encode_npy(np.full(shape, value, dtype))


def make_tar(path, members, form=tarfile.GNU_FORMAT):
    """Write members: (name, bytes), or a TarInfo without a payload."""
    with tarfile.open(path, "w", format=form) as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            data = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def link(name, kind, target="a.png"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def index(path, target):
    return run(IndexConfig(tars=str(path), set=str(target)))


def keys(target):
    return list(ShardSet(target).index["key"])


def test_members_of_a_sample_that_are_apart_are_refused_with_both_names(tmp_path):
    path = make_tar(tmp_path / "apart.tar", [("a.png", png()), ("b.png", png()), ("a.depth.npy", npy())])
    with pytest.raises(DataError, match=r"apart\.tar, key a: its members .* found a\.depth\.npy .* far from a\.png"):
        index(path, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_members_that_are_no_part_may_be_anywhere(tmp_path):
    path = make_tar(tmp_path / "x.tar", [("a.txt", b""), ("b.png", png()), ("a.txt", b""), ("c.png", png())])
    assert index(path, tmp_path / "set").data["skipped"] == {"txt": 2}
    assert keys(tmp_path / "set") == ["b", "c"]


@pytest.mark.parametrize("second", ["a.jpg", "a.png", "a.PNG"])
def test_two_members_that_are_the_same_part_are_refused(tmp_path, second):
    path = make_tar(tmp_path / "x.tar", [("a.png", png()), (second, png())])
    with pytest.raises(DataError, match=rf"x\.tar, key a: expected one image, found a\.png and {second}"):
        index(path, tmp_path / "set")


def test_hidden_files_folders_and_names_without_an_extension_end_no_sample(tmp_path):
    folder = tarfile.TarInfo("./d")
    folder.type = tarfile.DIRTYPE
    members = [
        ("./a.png", png()),
        ("./._a.png", b"x"),
        (".DS_Store", b""),
        folder,
        ("README", b""),
        ("./a.depth.npy", npy()),
    ]
    outcome = index(make_tar(tmp_path / "mac.tar", members), tmp_path / "set")
    assert keys(tmp_path / "set") == ["./a"]
    assert ShardSet(tmp_path / "set")[0].depth.shape == (6, 8)
    assert outcome.data["passed_over"] == {
        "hidden file": {"count": 2, "first": ["mac.tar: ./._a.png", "mac.tar: .DS_Store"]},
        "name without an extension": {"count": 1, "first": ["mac.tar: README"]},
    }
    assert "passed over 2: hidden file: mac.tar: ./._a.png, mac.tar: .DS_Store" in outcome.text


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "named pipe"),
    ],
)
@pytest.mark.parametrize("part", ["png", "depth.npy", "valid.npy"])
def test_a_sample_one_part_of_which_is_no_file_is_left_out_and_named(tmp_path, kind, reason, part):
    whole = [("a.png", png()), ("a.depth.npy", npy()), ("a.valid.npy", npy(dtype=bool))]
    rest = [(f"b.{ext}", data) for name, data in whole if (ext := name[2:]) != part]
    outcome = index(
        make_tar(tmp_path / "x.tar", [*whole, link(f"b.{part}", kind, f"a.{part}"), *rest]), tmp_path / "set"
    )
    assert keys(tmp_path / "set") == ["a"]
    name = {"png": "image"}.get(part, part.partition(".")[0])
    assert outcome.data["passed_over"] == {
        reason: {"count": 1, "first": [f"x.tar: b.{part}"]},
        f"sample whose {name} is a {reason}": {"count": 1, "first": ["x.tar: b"]},
    }
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_sparse_member_of_gigabytes_is_left_out_and_named(tmp_path, form):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    (folder / "b.png").write_bytes(png())
    with (folder / "b.depth.npy").open("wb") as file:
        file.truncate(6 << 30)
    names = ["a.png", "b.png", "b.depth.npy"]
    command = ["tar", "-S", f"--format={form}", "-cf", tmp_path / "x.tar", "-C", folder, *names]
    subprocess.run(command, check=True, timeout=60)
    outcome = index(tmp_path / "x.tar", tmp_path / "set")
    assert keys(tmp_path / "set") == ["a"]
    assert outcome.data["passed_over"]["sample whose depth is a sparse file"] == {"count": 1, "first": ["x.tar: b"]}


def test_samples_without_an_image_are_counted_and_named(tmp_path):
    members = [("a.png", png()), ("b.depth.npy", npy()), ("c.json", b"{}")]
    outcome = index(make_tar(tmp_path / "x.tar", members), tmp_path / "set")
    assert outcome.data["passed_over"] == {"sample without an image": {"count": 2, "first": ["x.tar: b", "x.tar: c"]}}
    with pytest.raises(DataError, match=r"found none in 1 tars; passed over 1: sample without an image: y\.tar: b"):
        index(make_tar(tmp_path / "y.tar", members[1:2]), tmp_path / "other")


@pytest.mark.parametrize("cut", [1, 512, 1024, 9000, 10_752])
def test_a_tar_that_does_not_end_properly_is_an_error_that_names_it(tmp_path, cut):
    path = make_tar(tmp_path / "cut.tar", [(f"{number}.png", png()) for number in range(12)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data.rstrip(b"\0")) // 512 * 512 + 512 + 1024 - cut])
    with pytest.raises(DataError, match=r"cut\.tar: .*truncated"):
        index(path, tmp_path / "set")


def test_a_damaged_header_and_other_data_behind_the_end_are_errors_that_name_the_byte(tmp_path):
    path = make_tar(tmp_path / "x.tar", [(f"{number}.png", png()) for number in range(4)])
    data = bytearray(path.read_bytes())
    path.write_bytes(data + b"junk" * 128)
    with pytest.raises(DataError, match=r"x\.tar: expected nothing but zeros after its end, found .* byte 10752"):
        index(path, tmp_path / "set")
    data[1024 + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.tar: expected a tar header at byte 1024, .*bad checksum"):
        index(path, tmp_path / "set")


def test_two_tars_with_samples_of_one_key_are_refused_with_both_names(tmp_path):
    for name in ("one.tar", "two.tar"):
        make_tar(tmp_path / name, [("a.png", png())])
    with pytest.raises(DataError, match=r"two\.tar, key a: keys must be unique in a set, found it in .*one\.tar"):
        index(tmp_path, tmp_path / "set")


def test_the_one_rule_decides_which_pixels_of_a_foreign_mask_are_valid(tmp_path):
    depth = np.ones((6, 8), np.float32)
    depth[0, :5] = np.nan, np.inf, -np.inf, -3, 0
    mask = np.ones((6, 8), bool)
    mask[5] = False
    members = [("a.png", png()), ("a.depth.npy", encode_npy(depth)), ("a.valid.npy", encode_npy(mask))]
    index(make_tar(tmp_path / "x.tar", members), tmp_path / "set")
    opened = ShardSet(tmp_path / "set")
    expected = np.ones((6, 8), bool)
    expected[0, :5] = expected[5] = False
    np.testing.assert_array_equal(opened[0].valid, expected)
    row = opened.index.iloc[0]
    assert (row["depth_min"], row["depth_max"], row["valid_fraction"]) == (1, 1, np.float32(35 / 48))
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"depth.npy": npy((3, 4))}, "image is 6 x 8, depth is 3 x 4"),
        ({"valid.npy": npy((1, 8), bool)}, "image is 6 x 8, valid is 1 x 8"),
        ({"depth.npy": npy(), "valid.npy": npy((6, 1), bool)}, "image is 6 x 8, valid is 6 x 1"),
        ({"depth.npy": npy((8, 6)), "valid.npy": npy((6, 8), bool)}, "image is 6 x 8, depth is 8 x 6"),
    ],
)
def test_parts_of_another_shape_than_the_image_are_refused(tmp_path, parts, problem):
    path = make_tar(tmp_path / "x.tar", [("a.png", png()), *((f"a.{ext}", data) for ext, data in parts.items())])
    with pytest.raises(DataError, match=rf"x\.tar, key a: {problem}"):
        index(path, tmp_path / "set")


def test_links_have_names_of_plain_letters_and_the_set_is_whole(tmp_path):
    for number, name in enumerate(["my shard é$(x).tar", "-x.tar", "my_shard____x_.tar", "plain-1.2_a.tar"]):
        make_tar(tmp_path / name, [(f"{number}.png", png())])
    index(tmp_path, tmp_path / "set")
    opened = ShardSet(tmp_path / "set")
    names = [shard.name for shard in opened.manifest.shards]
    assert names == [f"shards/{x}.tar" for x in ("_x", "my_shard____x_-2", "my_shard____x_", "plain-1.2_a")]
    assert sorted(opened.index["key"]) == ["0", "1", "2", "3"]
    assert all((sample.image == 0).all() for sample in opened.read(range(4)))
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_tars_that_are_in_the_folder_of_shards_already_stay_as_they_are(tmp_path):
    shards = tmp_path / "set/shards"
    shards.mkdir(parents=True)
    for number, name in enumerate(["a.tar", "b.tar"]):
        make_tar(shards / name, [(f"{number}.png", png())])
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    index(shards, tmp_path / "set")
    assert {name: (shards / name).read_bytes() for name in before} == before
    assert not (shards / "a.tar").is_symlink()
    assert [shard.name for shard in ShardSet(tmp_path / "set").manifest.shards] == ["shards/a.tar", "shards/b.tar"]
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_a_tar_in_the_folder_of_shards_with_another_name_than_a_shard_may_have_is_refused(tmp_path):
    (tmp_path / "set/shards").mkdir(parents=True)
    tar = make_tar(tmp_path / "set/shards/b c.tar", [("b.png", png())])
    with pytest.raises(UsageError, match=r"b c\.tar: expected a name of letters, digits and \._- there; rename it"):
        index(tmp_path / "set/shards", tmp_path / "set")
    assert os.listdir(tmp_path / "set/shards") == [tar.name]


def test_a_link_replaces_no_file_and_links_of_an_earlier_run_are_made_anew(tmp_path):
    for folder in ("set/shards", "tars"):
        (tmp_path / folder).mkdir(parents=True)
    make_tar(tmp_path / "tars/a.tar", [("a.png", png())])
    link = tmp_path / "set/shards/a.tar"
    link.write_bytes(b"somebody's")
    with pytest.raises(UsageError, match=r"set/shards/a\.tar: expected nothing, or a link, .*give another SET"):
        index(tmp_path / "tars", tmp_path / "set")
    assert link.read_bytes() == b"somebody's"
    link.unlink()
    link.symlink_to("nowhere")
    index(tmp_path / "tars", tmp_path / "set")
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_a_set_that_could_not_be_opened_is_not_made(tmp_path, monkeypatch):
    (tmp_path / "tars").mkdir()
    make_tar(tmp_path / "tars/a.tar", [("a.png", png())])
    monkeypatch.setattr("sharding.format.strict_json.MAX_JSON_BYTES", 300)
    with pytest.raises(DataError, match=r"manifest\.json: found \d+ bytes; at most 300 are read"):
        index(tmp_path / "tars", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_keys_are_as_long_in_one_alphabet_as_in_another(tmp_path):
    (tmp_path / "tars").mkdir()
    make_tar(tmp_path / "tars/a.tar", [("\u6df1" * 1500 + "/x.png", png())])
    index(tmp_path / "tars", tmp_path / "set")
    assert keys(tmp_path / "set") == ["\u6df1" * 1500 + "/x"]


@pytest.mark.parametrize("masked", [False, True])
def test_depth_that_float32_cannot_hold_is_refused_unless_it_is_masked(tmp_path, masked):
    depth = np.full((6, 8), 2.0)
    depth[0, 0] = 1.7e308
    parts = [("a.png", png()), ("a.depth.npy", encode_npy(depth))]
    tar = make_tar(tmp_path / "x.tar", parts + [("a.valid.npy", encode_npy(depth < 9))] * masked)
    if not masked:
        with pytest.raises(DataError, match=r"key a: .* float32 can hold, found 1\.7e\+308 in 1 pixels"):
            index(tar, tmp_path / "set")
        return
    index(tar, tmp_path / "set")
    assert ShardSet(tmp_path / "set")[0].valid.sum() == 47


def test_a_set_below_the_tars_is_in_the_way_of_no_other(tmp_path):
    (tmp_path / "tars").mkdir()
    make_tar(tmp_path / "tars/b.tar", [("b.png", png())])
    for name in ("tars/a-set", "tars/set", "other"):  # the first comes before the tar
        index(tmp_path / "tars", tmp_path / name)
        assert keys(tmp_path / name) == ["b"]
        assert verify(VerifyConfig(set=str(tmp_path / name))).ok
        assert os.readlink(tmp_path / name / "shards/b.tar").count("set") == 0


def test_an_empty_file_is_no_tar(tmp_path):
    (tmp_path / "x.tar").touch()
    with pytest.raises(DataError, match=r"x\.tar: expected a tar or a zstd-compressed tar, found an empty file$"):
        index(tmp_path / "x.tar", tmp_path / "set")


@pytest.mark.parametrize("name", ["shards", ".making"])
def test_a_set_whose_folder_of_shards_is_a_link_is_not_made(tmp_path, name):
    for folder in ("set", "else"):
        (tmp_path / folder).mkdir()
    (tmp_path / "set" / name).symlink_to("../else")
    with pytest.raises(UsageError, match=f"set/{name}: expected a folder, found a link; .* make .*/set the link"):
        check_index(IndexConfig(tars=str(tmp_path), set=str(tmp_path / "set")))


def test_a_set_cannot_be_the_folder_of_its_tars(tmp_path):
    make_tar(tmp_path / "a.tar", [("a.png", png())])
    with pytest.raises(UsageError, match="tars and set are the same folder; give another SET, below it"):
        check_index(IndexConfig(tars=str(tmp_path), set=f"{tmp_path}/."))


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused_by_name_and_nothing_waits(tmp_path):
    for name, make, found in [
        ("pipe", os.mkfifo, "expected a readable archive: it is a FIFO"),
        ("loop", lambda path: path.symlink_to(path.name), "symbolic links"),
        ("gone", lambda path: path.symlink_to("nowhere"), "No such file"),
        ("null", lambda path: path.symlink_to("/dev/null"), "expected a readable archive: it is a device"),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        make(folder / "x.tar")
        for path in (folder, folder / "x.tar"):
            with pytest.raises(DataError, match=rf"{name}/x\.tar: .*{found}"):
                index(path, tmp_path / "set")


def test_linked_folders_are_followed_once_and_compressed_tars_are_named(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "tars/sub.tar").mkdir(parents=True)
    make_tar(tmp_path / "disk/a.tar", [("a.png", png())])
    make_tar(tmp_path / "tars/sub.tar/b.tar", [("b.png", png())])
    (tmp_path / "tars/far").symlink_to(tmp_path / "disk")
    (tmp_path / "tars/far-again").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/loop").symlink_to(tmp_path / "tars")
    for name in ("c.tar.gz", "B.TAR"):
        (tmp_path / "tars" / name).write_bytes(b"")
    (tmp_path / "tars/._a.tar").write_bytes(b"AppleDouble")
    outcome = index(tmp_path / "tars", tmp_path / "tars/set")
    assert keys(tmp_path / "tars/set") == ["a", "b"]
    reasons = {reason: entry["first"] for reason, entry in outcome.data["passed_over"].items()}
    assert reasons == {
        "file that is compressed as a whole: decompress it": [str(tmp_path / "tars/c.tar.gz")],
        "file whose name ends in capitals: rename it": [str(tmp_path / "tars/B.TAR")],
        "hidden file": [str(tmp_path / "tars/._a.tar")],
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_all_forms_are_indexed_with_names_of_all_lengths(tmp_path, form):
    stems = ["a", "d/" * 40 + "b", *(["päge/ß", "n" * 150] if form != tarfile.USTAR_FORMAT else [])]
    members = [(f"{stem}.{ext}", data) for stem in stems for ext, data in (("png", png()), ("depth.npy", npy(value=3)))]
    index(make_tar(tmp_path / "x.tar", members, form), tmp_path / "set")
    assert keys(tmp_path / "set") == stems
    assert all((sample.depth == 3).all() for sample in ShardSet(tmp_path / "set").read(range(len(stems))))
    assert verify(VerifyConfig(set=str(tmp_path / "set"))).ok


def test_names_that_no_key_may_have_are_left_out_and_named(tmp_path):
    names = ["/above/a.png", "../b.png", "c\n.png", "d" * 5000 + ".png", "good.png"]
    outcome = index(make_tar(tmp_path / "x.tar", [(name, png()) for name in names]), tmp_path / "set")
    assert keys(tmp_path / "set") == ["good"]
    counts = {reason: entry["count"] for reason, entry in outcome.data["passed_over"].items() if "sample" not in reason}
    assert counts == {
        "name that is no readable text": 1,
        "name that leads out of the archive": 2,
        "name of more than 4096 characters": 1,
    }
    assert max(map(len, outcome.text.splitlines())) < 1500
